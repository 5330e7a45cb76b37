"""Tells Envoy that its pod is to end: `ingle-router leave`, called by the kubelet before the pod's processes end."""

from __future__ import annotations

import http.client
import socket
from typing import Final

LIMIT_S: Final = 3.0


def leave(socket_path: str) -> None:
    """From now on Envoy asks its clients to go: each HTTP/1.1 response says `connection: close`, and an HTTP/2 client gets
    GOAWAY with its next response. Envoy serves on. May be repeated. OSError or HTTPException where Envoy does not
    answer within `LIMIT_S` or refuses.

    Envoy leaves connections alone that carry no request: https://github.com/envoyproxy/envoy/issues/42305.
    """
    connection = http.client.HTTPConnection("envoy", timeout=LIMIT_S)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(socket_path)
        connection.sock = sock
        connection.request("POST", "/healthcheck/fail")
        status = connection.getresponse().status
    if status != http.client.OK:
        raise http.client.HTTPException(f"Envoy answered {status} at {socket_path}")
