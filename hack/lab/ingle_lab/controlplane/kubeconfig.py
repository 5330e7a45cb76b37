"""Kubeconfig files that need no other file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from ingle_lab.controlplane.pki import Pair, write_private


def write_kubeconfig(
    path: Path, server: str, ca_pem: bytes, *, token: str | None = None, cert: Pair | None = None
) -> Path:
    """Write a kubeconfig readable by its owner only; the identity is a bearer token or a certificate."""
    if (token is None) == (cert is None):
        raise ValueError("give either a token or a certificate")
    user: dict[str, Any] = {"token": token}
    if cert is not None:
        user = {
            "client-certificate-data": _base64(cert.cert.read_bytes()),
            "client-key-data": _base64(cert.key.read_bytes()),
        }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [
            {"name": "lab", "cluster": {"server": server, "certificate-authority-data": _base64(ca_pem)}}
        ],
        "users": [{"name": "lab", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
