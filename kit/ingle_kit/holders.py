"""Names of holder pods: given by the operator, known again by the agent in what the kubelet lists."""

from __future__ import annotations

import hashlib
import re


def holder_name(node: str, number: int) -> str:
    """A name that is valid for any node and the same for each try."""
    return f"{_prefix(node)}-{number}"


def is_holder_name(name: str, node: str) -> bool:
    """Whether a pod of our namespace with that name is a holder pod for `node`."""
    return re.fullmatch(rf"{_prefix(node)}-[0-9]+", name, re.ASCII) is not None


def _prefix(node: str) -> str:
    return f"ingle-holder-{hashlib.sha256(node.encode()).hexdigest()[:10]}"
