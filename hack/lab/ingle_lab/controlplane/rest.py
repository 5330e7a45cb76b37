"""A small blocking client of the API server, for starting up and asking for tokens."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.pki import Pair


class Rest:
    """One connection per request; no proxy is asked, since the server is on this machine."""

    def __init__(self, address: str, port: int, ca_file: str, cert: Pair | None = None) -> None:
        self._address, self._port = address, port
        self._tls = ssl.create_default_context(cafile=ca_file)
        if cert:
            self._tls.load_cert_chain(cert.cert, cert.key)

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, timeout_s: float = 10.0
    ) -> tuple[int, bytes]:
        """Status and body. Raises OSError or http.client.HTTPException when there is no answer."""
        connection = http.client.HTTPSConnection(
            self._address, self._port, context=self._tls, timeout=timeout_s
        )
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """Decoded answer. Raises ControlPlaneError with the server's message when it refuses."""
        try:
            status, content = self.request(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise ControlPlaneError(
                f"the API server at {self._address}:{self._port} does not answer ({error}). "
                "Look at `python -m ingle_lab.controlplane status` and .lab/logs/kube-apiserver.log."
            ) from error
        decoded = json.loads(content)
        if status >= 300:
            raise ControlPlaneError(f"{method} {path}: {status} {decoded.get('message', '')}".rstrip())
        return decoded

    def says_ok(self, path: str) -> str | None:
        """None when the server answers 200, else the reason in words."""
        try:
            status, content = self.request("GET", path, timeout_s=2.0)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        return (
            None if status == 200 else f"{path} answers {status}: {content[-300:].decode(errors='replace')}"
        )
