"""What the agent takes from its GPUNode: what is allotted and claimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingle_kit.objects import GPUNodeSpec


@dataclass(frozen=True)
class Ledger:
    """One revision. `claimed_w`, `claimed_mib`: Σ claims by GPU UUID. `pods`: UIDs that hold something.

    `holders`: by GPU UUID, the pods that claim something there.
    """

    uid: str
    generation: int
    revision: int
    allotted_w: int | None
    safe_w: int | None
    claimed_w: Mapping[str, int]
    claimed_mib: Mapping[str, int]
    pods: frozenset[str]
    holders: Mapping[str, frozenset[str]] = field(default_factory=dict)


def ledger_of(obj: dict[str, Any]) -> Ledger:
    """From a GPUNode. Raises ValueError or KeyError where it breaks its own rules."""
    spec = GPUNodeSpec.model_validate(obj["spec"])
    holders = {claim.pod_uid for gpu in spec.gpus for claim in gpu.claims}
    return Ledger(
        uid=obj["metadata"]["uid"],
        generation=obj["metadata"].get("generation", 0),
        revision=spec.revision,
        allotted_w=spec.watts_allotted,
        safe_w=spec.watts_safe,
        claimed_w={gpu.uuid: sum(claim.watts for claim in gpu.claims) for gpu in spec.gpus},
        claimed_mib={gpu.uuid: sum(claim.memory_mib for claim in gpu.claims) for gpu in spec.gpus},
        pods=frozenset(holders | {pod.uid for pod in spec.pods}),
        holders={gpu.uuid: frozenset(claim.pod_uid for claim in gpu.claims) for gpu in spec.gpus},
    )


def effective_w(ledger: Ledger, silent: bool) -> int | None:
    """The allotment; while the operator is silent not more than `safe_w`, where there is one."""
    known = [watts for watts in (ledger.allotted_w, ledger.safe_w if silent else None) if watts is not None]
    return min(known, default=None)
