"""The ledger of one node: `GPUNode.spec` as frozen records. Memory in MiB, power in W."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

State = Literal["Starting", "Awake", "Sleeping", "Asleep", "Waking", "Stopping"]
TRANSITIONS: Final = frozenset({"Starting", "Sleeping", "Waking", "Stopping"})

_WIRE: Final = {
    "pod_uid": "podUID",
    "memory_mib": "memoryMiB",
    "allocatable_mib": "allocatableMiB",
    "floor_watts": "floorWatts",
    "watts_allotted": "wattsAllotted",
    "watts_safe": "wattsSafe",
}


def _wire_name(field: str) -> str:
    return _WIRE.get(field, field)


class Claim(msgspec.Struct, frozen=True, rename=_wire_name):
    """What one pod holds on one GPU."""

    pod_uid: str
    memory_mib: int
    watts: int = 0


class Gpu(msgspec.Struct, frozen=True, rename=_wire_name):
    """One GPU. `floor_watts` is charged when nobody claims it.

    A MIG instance has the UUID of its `parent`, whose entry has 0 MiB, the floor, and the watts of all instances.
    """

    uuid: str
    allocatable_mib: int
    floor_watts: int = 0
    claims: tuple[Claim, ...] = ()
    parent: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def claimed_mib(self) -> int:
        return sum(claim.memory_mib for claim in self.claims)

    @property
    def claimed_watts(self) -> int:
        return sum(claim.watts for claim in self.claims)

    @property
    def charged_watts(self) -> int:
        return max(self.floor_watts, self.claimed_watts)


class HostClaim(msgspec.Struct, frozen=True, rename=_wire_name):
    """Host memory that one pod holds in one NUMA zone (its weights while it sleeps)."""

    pod_uid: str
    memory_mib: int


class Zone(msgspec.Struct, frozen=True, rename=_wire_name):
    """Host memory of one NUMA zone."""

    zone: int
    allocatable_mib: int
    claims: tuple[HostClaim, ...] = ()

    @property
    def claimed_mib(self) -> int:
        return sum(claim.memory_mib for claim in self.claims)


class Holder(msgspec.Struct, frozen=True):
    """A pod that holds something on this node, once whatever it holds. `pool` is namespace/name."""

    uid: str
    pool: str
    state: State
    epoch: int = 0
    at: str = ""


class Ledger(msgspec.Struct, frozen=True, rename=_wire_name):
    """`GPUNode.spec`. No `watts_allotted` means that watts are not limited."""

    revision: int = 0
    gpus: tuple[Gpu, ...] = ()
    zones: tuple[Zone, ...] = ()
    pods: tuple[Holder, ...] = ()
    watts_allotted: int | None = None
    watts_safe: int | None = None

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Ledger:
        """Reads `GPUNode.spec`; ValueError (msgspec.ValidationError) names the wrong field."""
        return msgspec.convert(spec, cls)

    def to_dict(self) -> dict[str, Any]:
        """`GPUNode.spec` as JSON values; absent allotments are left out."""
        raw: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {key: value for key, value in raw.items() if value is not None}

    def holder(self, pod_uid: str) -> Holder | None:
        return next((pod for pod in self.pods if pod.uid == pod_uid), None)

    def gpus_of(self, pod_uid: str) -> tuple[str, ...]:
        """UUIDs of the GPUs that this pod claims, in the ledger's order; MIG instances, not their parents."""
        held = [g for g in self.gpus if any(c.pod_uid == pod_uid for c in g.claims)]
        parents = {g.parent for g in held}
        return tuple(g.uuid for g in held if g.uuid not in parents)
