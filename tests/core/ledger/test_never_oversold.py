"""Whatever callers try in whatever order: under the rules no sum grows over its limit."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ingle_core.ledger import (
    Gpu,
    Ledger,
    LedgerError,
    Op,
    PodRef,
    State,
    Zone,
    applied,
    charged_watts,
    claim,
    fits,
    move,
    release,
    set_allotment,
    set_gpus,
)

GPUS = ("G0", "G1", "G2")
PODS = st.sampled_from([f"pod-{i}" for i in range(5)])
STATES = st.sampled_from(["Awake", "Sleeping", "Asleep", "Waking", "Stopping"])
MIB, WATTS = st.integers(0, 90), st.integers(0, 500)


@dataclass
class Sums:
    memory: dict[str, int]
    watts: int
    host: dict[int, int]


def sums(ledger: Ledger) -> Sums:
    memory = {gpu.uuid: gpu.claimed_mib for gpu in ledger.gpus}
    return Sums(memory, charged_watts(ledger), {zone.zone: zone.claimed_mib for zone in ledger.zones})


class LedgerMachine(RuleBasedStateMachine):
    """Holds the ledger as the API server would: a change is taken only when `fits` allows it."""

    def __init__(self) -> None:
        super().__init__()
        zones = (Zone(0, 100), Zone(1, 100))
        self.ledger = Ledger(1, tuple(Gpu(u, 80, 50) for u in GPUS), zones, watts_allotted=900)
        self.before = sums(self.ledger)

    def take(self, ops: list[Op]) -> None:
        self.before = sums(self.ledger)
        if ops and fits(self.ledger, ops) is None:
            revision = self.ledger.revision
            self.ledger = applied(self.ledger, ops)
            assert self.ledger.revision == revision + 1

    @rule(pod=PODS, gpus=st.sets(st.sampled_from(GPUS), min_size=1), mib=MIB, watts=WATTS, host=MIB)
    def claims(self, pod: str, gpus: set[str], mib: int, watts: int, host: int) -> None:
        ref = PodRef(pod, "a/b")
        try:
            plan = claim(
                self.ledger, ref, sorted(gpus), memory_mib=mib, watts=watts, host_zone=0, host_mib=host
            )
        except LedgerError:
            assert gpus - {gpu.uuid for gpu in self.ledger.gpus}
            return
        self.take(plan)
        if plan and self.ledger.holder(pod):
            assert claim(self.ledger, ref, GPUS, memory_mib=1, watts=1) == []

    @rule(pod=PODS, state=STATES, mib=MIB, watts=WATTS, host=st.none() | MIB, zone=st.integers(0, 1))
    def moves(self, pod: str, state: State, mib: int, watts: int, host: int | None, zone: int) -> None:
        try:
            ops = move(self.ledger, pod, state, memory_mib=mib, watts=watts, host_zone=zone, host_mib=host)
        except LedgerError:
            assert self.ledger.holder(pod) is None
            return
        self.take(ops)

    @rule(pod=PODS)
    def releases(self, pod: str) -> None:
        self.take(release(self.ledger, pod))
        assert self.ledger.gpus_of(pod) == ()
        assert self.ledger.holder(pod) is None

    @rule(watts=st.none() | st.integers(0, 1500))
    def allots(self, watts: int | None) -> None:
        self.take(set_allotment(self.ledger, watts, watts))

    @rule(gpus=st.lists(st.sampled_from(GPUS), unique=True), foreign=st.integers(0, 80))
    def finds_foreign_use_or_loses_gpus(self, gpus: list[str], foreign: int) -> None:
        self.take(set_gpus(self.ledger, [Gpu(u, 80 - foreign, 50) for u in gpus]))

    @invariant()
    def nothing_grew_over_its_limit(self) -> None:
        now, was = sums(self.ledger), self.before
        for gpu in self.ledger.gpus:
            held = now.memory[gpu.uuid]
            assert held <= gpu.allocatable_mib or held <= was.memory.get(gpu.uuid, 0)
        for zone in self.ledger.zones:
            held = now.host[zone.zone]
            assert held <= zone.allocatable_mib or held <= was.host.get(zone.zone, 0)
        limit = self.ledger.watts_allotted
        assert limit is None or now.watts <= limit or now.watts <= was.watts

    @invariant()
    def claims_and_pods_agree(self) -> None:
        claimed = {c.pod_uid for gpu in self.ledger.gpus for c in gpu.claims}
        claimed |= {c.pod_uid for zone in self.ledger.zones for c in zone.claims}
        assert claimed <= {pod.uid for pod in self.ledger.pods}


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedger = LedgerMachine.TestCase
