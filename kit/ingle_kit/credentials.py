"""Where the API server is and who we are: kubeconfig or service account, read by the official client."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Access:
    """Server URL, TLS and the bearer token's source (`configuration` refreshes a token file once a minute)."""

    server: str
    tls: ssl.SSLContext | None
    configuration: Any

    async def authorization(self) -> str | None:
        """Value of the Authorization header, or None where a client certificate speaks for us."""
        token: str | None = await self.configuration.get_api_key_with_prefix(
            "BearerToken", alias="authorization"
        )
        return token


async def load_access(kubeconfig: str | None) -> Access:
    """Reads `kubeconfig`, else INGLE_KUBECONFIG, else the service account's folder.

    Raises kubernetes.aio.config.ConfigException when none of them can be used.
    """
    configuration = Configuration()
    path = kubeconfig or os.environ.get("INGLE_KUBECONFIG")
    if path:
        await load_kube_config(config_file=path, client_configuration=configuration)
    else:
        folder = Path(os.environ.get("INGLE_SERVICE_ACCOUNT_DIR", SERVICE_ACCOUNT_DIR))
        InClusterConfigLoader(
            token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt")
        ).load_and_set(configuration)
    return Access(configuration.host.rstrip("/"), _tls(configuration), configuration)


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    return context
