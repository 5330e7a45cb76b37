"""`ingle explain`: why a pod, a pool or a node is as it is, and what a reason means."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from ingle_cli.access import CallersKube
from ingle_cli.explain.node import explain_node
from ingle_cli.explain.pod import explain_pod
from ingle_cli.explain.pool import explain_pool
from ingle_cli.explain.reason import reason_text
from ingle_cli.failures import Failure
from ingle_cli.text import Shown
from ingle_core.placement import Ask, AskMemory

__all__ = ["explain_node", "explain_pod", "explain_pool", "parse_ask", "parse_target", "reason_text"]

Explainer = Callable[[CallersKube, str, float], Awaitable[tuple[Shown | str, Failure | None]]]

_EXPLAINERS: Final[dict[str, Explainer]] = {
    **dict.fromkeys(("pod", "pods", "po"), explain_pod),
    **dict.fromkeys(("pool", "pools", "ipool", "inferencepool", "inferencepools"), explain_pool),
    **dict.fromkeys(("node", "nodes", "no", "gpun", "gpunode", "gpunodes"), explain_node),
}


def parse_target(target: str, *, ask: Ask | None = None, as_json: bool = False) -> tuple[Explainer, str]:
    """`pool/llama-8b` -> what explains pools, and the name. Raises Failure for anything else."""
    kind, _, name = target.partition("/")
    explainer = _EXPLAINERS.get(kind.lower())
    if explainer is None or not name or "/" in name:
        raise Failure(f"Cannot explain {target!r}: write pod/NAME, pool/NAME or node/NAME.")
    if explainer is explain_node:
        return partial(explain_node, ask=ask, as_json=as_json), name
    if ask is not None or as_json:
        raise Failure("--ask and -o json are for node/NAME: leave them out here.")
    return explainer, name


def parse_ask(text: str) -> Ask:
    """`40000` (MiB on one GPU) or `2x40000` (on each of two). Raises Failure for anything else."""
    found = re.fullmatch(r"(?:([1-9]\d?)x)?([1-9]\d{0,7})", text)
    if found is None:
        raise Failure(f"--ask {text!r}: write MiB, as 40000, or GPUs x MiB on each, as 2x40000.")
    return Ask(memory_mib=AskMemory(awake=int(found[2])), gpus=int(found[1] or 1))
