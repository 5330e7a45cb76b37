"""What stands around a ledger in test_state_machine.py: an API server, nodes, and engines that really hold memory.

The API server keeps JSON and takes a patch as the real one does: tests come first, then the rules of the CRD. Engines
are the facts that the ledger must never fall short of.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from ingle_core.facts import GpuNode, GpuNodeFacts, node_facts
from ingle_core.ledger import Ledger, Op, applied, shortfall
from ingle_core.placement import Ask

GPU_MIB, SLICE_MIB, HOST_MIB, FLOOR_W = 80_000, 40_000, 100_000, 60
PRODUCT = "H100"


class Shape(NamedTuple):
    """A node's GPUs: whole ones, and MIG instances by their parent."""

    whole: tuple[str, ...]
    instances: dict[str, str]

    @property
    def parents(self) -> frozenset[str]:
        return frozenset(self.instances.values())


SHAPES = {"a": Shape(("a0", "a1"), {}), "b": Shape(("b0", "bP"), {"bm0": "bP", "bm1": "bP"})}
PARENT_OF = SHAPES["b"].instances


class Answer(Enum):
    """What became of a patch."""

    WRITTEN = "Written"
    STALE = "Stale"
    REFUSED = "Refused"


@dataclass
class Engine:
    """A process. `holds` MiB on each of its GPUs now, `keeps` MiB after a sleep; `asleep` None while it loads."""

    gpus: tuple[str, ...]
    keeps: int
    holds: int = 0
    asleep: bool | None = None


@dataclass
class Pod:
    """A pod and, where it runs, its engine. `unclaimed`: its claim was lost with a ledger and is not yet back."""

    uid: str
    ask: Ask
    node: str = ""
    gpus: tuple[str, ...] = ()
    deleting: bool = False
    gate: bool = False
    engine: Engine | None = None
    unclaimed: bool = False


class Seen(NamedTuple):
    """A GPUNode as somebody read it."""

    uid: int
    spec: dict[str, Any]
    status: dict[str, Any]

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_dict(self.spec)

    def facts(self, heard: bool, whole: bool) -> GpuNodeFacts:
        obj = {"metadata": {"name": ""}, "spec": self.spec, "status": self.status}
        return node_facts(
            GpuNode.from_dict(obj), heard_at_s=0.0 if heard else float("-inf"), ready=True, whole=whole
        )


@dataclass
class Node:
    """A node. `cut_off`: neither its agent nor its kubelet can be heard, its engines go on.

    `ghosts`: engines by UID whose pod was forgotten meanwhile; `let_go`: whose claims went while nobody could see them.
    `backups`: what the ledger once was.
    """

    name: str
    uid: int = 0
    spec: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    backups: list[dict[str, Any]] = field(default_factory=list)
    foreign: dict[str, int] = field(default_factory=dict)
    ghosts: dict[str, Engine] = field(default_factory=dict)
    let_go: set[str] = field(default_factory=set)
    cut_off: bool = False
    was_restored: bool = False
    broken: str = ""  # the first write that no rule should have let through

    def seen(self) -> Seen:
        return Seen(self.uid, copy.deepcopy(self.spec), copy.deepcopy(self.status))

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_dict(self.spec)

    def patch(self, known: Seen, ops: Sequence[Op]) -> Answer:
        """Applies `ops`, made from what `known` says, as the API server would."""
        spec = _patched(self.spec, ops) if known.uid == self.uid else None  # as every write asks first
        if spec is None:
            return Answer.STALE
        before, after = self.ledger, Ledger.from_dict(spec)
        assert after == applied(before, ops)
        if shortfall(before, after) is not None:
            return Answer.REFUSED
        assert after.revision > before.revision
        self.broken = self.broken or grown_over_a_limit(before, after)
        self.backups.append(self.spec)
        self.spec = spec
        return Answer.WRITTEN

    def replace(self, spec: dict[str, Any]) -> None:
        """Somebody deletes the GPUNode and makes it anew; a status does not come with it."""
        self.uid, self.spec, self.status, self.was_restored = self.uid + 1, spec, {}, True

    def tell(self, engines: dict[str, Engine]) -> None:
        """The agent writes its status: memory in use, and how much of that is not of pods in the ledger."""
        ours = {holder.uid for holder in self.ledger.pods}
        shape = SHAPES[self.name]
        gpus = []
        for n, uuid in enumerate((*shape.whole, *shape.instances)):
            total = capacity_mib(uuid)
            here = {uid: engine.holds for uid, engine in engines.items() if uuid in engine.gpus}
            foreign = self.foreign.get(uuid, 0) + sum(mib for uid, mib in here.items() if uid not in ours)
            used = self.foreign.get(uuid, 0) + sum(here.values())
            memory = {"total": total, "free": max(0, total - used), "foreign": min(total, foreign)}
            gpu = {"uuid": uuid, "index": n, "product": PRODUCT, "memoryMiB": memory, "numa": 0}
            gpu["mig"] = uuid in shape.parents
            if uuid in shape.instances:
                gpu |= {"parent": shape.instances[uuid], "watts": {}}
            else:
                gpu["watts"] = {"min": FLOOR_W, "max": 700}
            gpus.append(gpu)
        numa = [{"zone": 0, "memoryMiB": {"total": HOST_MIB, "free": HOST_MIB}}]
        self.status = {"observedRevision": self.spec["revision"], "gpus": gpus, "numa": numa}


def capacity_mib(uuid: str) -> int:
    """What a GPU has; the parent of MIG instances has nothing of its own."""
    if uuid in SHAPES["b"].parents:
        return 0
    return SLICE_MIB if uuid in PARENT_OF else GPU_MIB


def _patched(spec: dict[str, Any], ops: Sequence[Op]) -> dict[str, Any] | None:
    """The JSON after the patch, None where a test fails. On its own, not by `applied`, which is under test."""
    after = copy.deepcopy(spec)
    for op in ops:
        name = op["path"].removeprefix("/spec/")
        if op["op"] == "test" and after.get(name) != op["value"]:
            return None
        if op["op"] == "remove":
            del after[name]
        elif op["op"] in ("add", "replace"):
            after[name] = copy.deepcopy(op["value"])
    return after


def grown_over_a_limit(before: Ledger, after: Ledger) -> str:
    """Which sum has grown and is over its limit now, counted from the records alone; empty: none."""

    def sums(ledger: Ledger) -> dict[tuple[str, str], tuple[int, int | None]]:
        found: dict[tuple[str, str], tuple[int, int | None]] = {}
        for gpu in ledger.gpus:
            found["MiB on", gpu.uuid] = (sum(c.memory_mib for c in gpu.claims), gpu.allocatable_mib)
        for zone in ledger.zones:
            found["MiB in", str(zone.zone)] = (sum(c.memory_mib for c in zone.claims), zone.allocatable_mib)
        watts = sum(max(g.floor_watts, sum(c.watts for c in g.claims)) for g in ledger.gpus)
        found["W", ""] = (watts, ledger.watts_allotted)
        return found

    was = sums(before)
    for key, (held, limit) in sums(after).items():
        if limit is not None and held > limit and held > was.get(key, (0, None))[0]:
            return f"{held} {' '.join(key)} of {limit}"
    return ""
