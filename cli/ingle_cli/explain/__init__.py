"""`ingle explain`: why a pod, a pool or a node is as it is, and what a reason means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ingle_cli.access import CallersKube
from ingle_cli.explain.node import explain_node
from ingle_cli.explain.pod import explain_pod
from ingle_cli.explain.pool import explain_pool
from ingle_cli.explain.reason import reason_text
from ingle_cli.failures import Failure
from ingle_cli.text import Shown

__all__ = ["explain_node", "explain_pod", "explain_pool", "parse_target", "reason_text"]

Explainer = Callable[[CallersKube, str, float], Awaitable[tuple[Shown, Failure | None]]]

_EXPLAINERS: Final[dict[str, Explainer]] = {
    **dict.fromkeys(("pod", "pods", "po"), explain_pod),
    **dict.fromkeys(("pool", "pools", "ipool", "inferencepool", "inferencepools"), explain_pool),
    **dict.fromkeys(("node", "nodes", "no", "gpun", "gpunode", "gpunodes"), explain_node),
}


def parse_target(target: str) -> tuple[Explainer, str]:
    """`pool/llama-8b` -> what explains pools, and the name. Raises Failure for anything else."""
    kind, _, name = target.partition("/")
    explainer = _EXPLAINERS.get(kind.lower())
    if explainer is None or not name or "/" in name:
        raise Failure(f"Cannot explain {target!r}: write pod/NAME, pool/NAME or node/NAME.")
    return explainer, name
