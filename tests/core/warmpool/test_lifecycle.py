"""One engine's steps, and the promise that from anywhere it ends well: pure, with a small model of an engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import Act, EngineFacts, Limits, Step, charge_mib, step
from ingle_core.warmpool.peaks import Peaks

AWAKE_MIB, RESIDUE_MIB = 40000, 1500
LIMITS = Limits(start_s=100, sleep_s=20, wake_s=30, drain_s=60)
FACTS = EngineFacts(
    state=State.AWAKE,
    since_s=0,
    bound=True,
    running=True,
    ready=True,
    ended=False,
    gate=True,
    asleep=False,
    probed=True,
    drained=False,
    measured_mib=AWAKE_MIB,
    residue_mib=RESIDUE_MIB,
    sleep_sent=False,
)


def taken(goal: State | None = None, now_s: float = 0.0, **facts: object) -> Step:
    return step(replace(FACTS, **facts), goal, LIMITS, now_s)  # type: ignore[arg-type]  # names are checked by replace


def test_a_settled_engine_is_left_alone() -> None:
    assert taken().act is Act.WAIT
    assert taken(state=State.ASLEEP, gate=False, asleep=None).act is Act.WAIT


def test_an_engine_is_probed_before_it_is_awake() -> None:
    assert taken(state=State.STARTING, gate=False, probed=False).act is Act.PROBE
    assert taken(state=State.STARTING, gate=False).to is State.AWAKE


def test_an_engine_that_is_not_ready_in_time_has_failed() -> None:
    late = taken(state=State.STARTING, ready=False, asleep=None, gate=False, now_s=101)
    assert (late.act, late.reason, late.failed) == (Act.DELETE, "EngineNeverReady", True)


def test_an_engine_that_ended_counts_as_a_failure_unless_it_was_being_stopped() -> None:
    assert taken(ended=True).failed
    assert not taken(ended=True, state=State.STOPPING).failed


def test_an_engine_on_a_lost_gpu_goes() -> None:
    assert taken(gpu_lost=True) == Step(Act.DELETE, "GPULost", failed=True)


def test_the_way_to_sleep_is_ledger_gate_drain_call_measure() -> None:
    assert taken(State.ASLEEP).to is State.SLEEPING
    sleeping = {"state": State.SLEEPING}
    assert taken(State.ASLEEP, **sleeping).act is Act.CLOSE_GATE
    assert taken(State.ASLEEP, gate=False, **sleeping).act is Act.WAIT
    quiet = {"gate": False, "drained": True, "quiet_at_s": 0.0, **sleeping}
    assert taken(State.ASLEEP, **quiet).act is Act.CALL_SLEEP
    assert taken(State.ASLEEP, asleep=True, **quiet).act is Act.WAIT
    assert taken(State.ASLEEP, asleep=True, measured_mib=1600, **quiet).to is State.ASLEEP


def test_the_charge_stays_while_memory_is_not_measured() -> None:
    assert (
        taken(state=State.SLEEPING, gate=False, asleep=True, drained=True, measured_mib=None).act is Act.WAIT
    )


def test_a_long_last_request_is_not_the_sleeps_fault() -> None:
    facts = {"state": State.SLEEPING, "gate": False, "asleep": True, "drained": True}
    assert taken(now_s=1000, quiet_at_s=995, **facts).act is Act.WAIT
    assert taken(now_s=1000, quiet_at_s=900, **facts).reason == "SleepKeptMemory"


def test_an_engine_that_will_not_sleep_is_replaced() -> None:
    facts = {"state": State.SLEEPING, "gate": False, "drained": True, "quiet_at_s": 0.0}
    assert taken(now_s=21, **facts).reason == "SleepFailed"
    assert taken(now_s=21, **(facts | {"asleep": None})).reason == "SleepFailed"


def test_a_wanted_engine_turns_back_only_while_it_is_certain_that_it_was_not_told_to_sleep() -> None:
    facts = {"state": State.SLEEPING, "gate": False, "drained": True}
    assert taken(State.AWAKE, **facts).to is State.AWAKE
    assert taken(State.AWAKE, sleep_sent=True, **facts).act is Act.CALL_SLEEP


def test_a_wake_that_takes_too_long_has_failed() -> None:
    late = taken(state=State.WAKING, gate=False, asleep=True, now_s=31)
    assert (late.act, late.reason, late.failed) == (Act.DELETE, "WakeFailed", True)


def test_an_engine_is_stopped_when_it_is_drained_or_after_the_limit() -> None:
    stopping = {"state": State.STOPPING, "gate": False}
    assert taken(**stopping).act is Act.WAIT
    assert taken(drained=True, **stopping).act is Act.DELETE
    assert taken(now_s=61, **stopping).act is Act.DELETE


def test_a_sleeper_is_charged_what_it_was_measured_to_keep() -> None:
    assert charge_mib(State.ASLEEP, AWAKE_MIB, RESIDUE_MIB, 1900) == 1900
    assert charge_mib(State.ASLEEP, AWAKE_MIB, RESIDUE_MIB, 100) == RESIDUE_MIB
    assert charge_mib(State.WAKING, AWAKE_MIB, RESIDUE_MIB, 100) == AWAKE_MIB


def test_a_sleepers_claim_follows_its_memory_down_to_the_residue() -> None:
    sleeper = {"state": State.ASLEEP, "gate": False, "asleep": None, "claimed_mib": RESIDUE_MIB + 300}
    assert taken(measured_mib=RESIDUE_MIB, **sleeper) == Step(Act.MOVE, "MemoryFell", State.ASLEEP)
    assert taken(measured_mib=RESIDUE_MIB + 290, **sleeper).act is Act.WAIT
    assert taken(measured_mib=None, **sleeper).act is Act.WAIT
    assert taken(State.AWAKE, measured_mib=RESIDUE_MIB, **sleeper).to is State.WAKING


# -- the model: an engine, its pod, the ledger, and an operator that may die between any two writes ----------------


@dataclass
class Model:
    """`lag`: rounds until a sleep is done although its call has returned (the caller gave up waiting)."""

    state: State
    gate: bool
    asleep: bool
    requests: int
    charge_mib: int
    ready: bool = True
    lag: int = 0
    pending: int = 0
    deleted: bool = False
    probed: bool = False
    entered: bool = False
    sent: bool = False
    quiet_at_s: float | None = None
    since_s: float = 0.0

    @property
    def memory_mib(self) -> int:
        return RESIDUE_MIB if self.asleep else AWAKE_MIB

    def facts(self, now_s: float) -> EngineFacts:
        drained = not self.gate and not self.requests
        if not (drained and self.state is State.SLEEPING):
            self.quiet_at_s = None
        elif self.quiet_at_s is None:
            self.quiet_at_s = now_s
        return replace(
            FACTS,
            state=self.state,
            since_s=self.since_s,
            ready=self.ready,
            gate=self.gate,
            asleep=self.asleep,
            probed=self.probed,
            drained=drained,
            measured_mib=self.memory_mib,
            quiet_at_s=self.quiet_at_s,
            sleep_sent=self.sent or not self.entered,
        )

    def restart(self) -> None:
        """kill -9: what only the process knew is gone; the engine, the gate and the ledger are not."""
        self.probed = self.entered = self.sent = False
        self.quiet_at_s = None

    def take(self, done: Step, now_s: float) -> None:
        if done.act is Act.MOVE:
            assert done.to is not None
            self.state, self.since_s = done.to, now_s
            self.charge_mib = charge_mib(done.to, AWAKE_MIB, RESIDUE_MIB, self.memory_mib)
            self.entered, self.sent = done.to is State.SLEEPING, False
        elif done.act is Act.PROBE:
            self.probed = not self.asleep
        elif done.act is Act.OPEN_GATE:
            assert not self.asleep, "the gate of a sleeper was opened"
            assert not self.pending, "the gate of an engine on its way to sleep was opened"
            self.gate = True
        elif done.act is Act.CLOSE_GATE:
            self.gate = False
        elif done.act is Act.CALL_SLEEP:
            assert not self.gate, "sleep was called before the gate was shut"
            assert not self.requests, "sleep was called before the engine was drained"
            self.sent = True
            self.pending = self.lag + 1
        elif done.act is Act.CALL_WAKE:
            assert self.charge_mib >= AWAKE_MIB, "woken before it was charged"
            self.asleep, self.pending = False, 0
        else:
            assert done.act is Act.DELETE
            self.deleted = True

    def passes(self) -> None:
        """A round of time: requests end, a sleep that was called comes about."""
        self.requests = max(0, self.requests - 1)
        if self.pending:
            self.pending -= 1
            self.asleep = self.asleep or not self.pending


MODELS = st.builds(
    Model,
    state=st.sampled_from(
        [State.STARTING, State.AWAKE, State.SLEEPING, State.ASLEEP, State.WAKING, State.STOPPING]
    ),
    gate=st.booleans(),
    asleep=st.booleans(),
    requests=st.integers(0, 3),
    charge_mib=st.just(AWAKE_MIB),
    ready=st.booleans(),
    lag=st.sampled_from([0, 2, 5]),
)
GOALS = st.lists(
    st.sampled_from([None, State.AWAKE, State.AWAKE, State.ASLEEP, State.ASLEEP, State.ENDED]),
    min_size=1,
    max_size=16,
)


def settled(model: Model) -> bool:
    awake = model.state is State.AWAKE and model.gate and not model.asleep
    asleep = model.state is State.ASLEEP and not model.gate and model.asleep
    return model.deleted or awake or asleep


@settings(max_examples=1500, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60)))
def test_from_any_state_and_with_a_kill_between_any_two_writes_it_ends_awake_asleep_or_gone(
    model: Model, goals: list[State | None], kills: set[int]
) -> None:
    if model.state is State.ASLEEP and model.asleep:
        model.charge_mib = RESIDUE_MIB
    model.requests = model.requests if model.gate else 0
    last = goals[-1]
    for n in range(120):
        if n in kills:
            model.restart()
        goal = goals[n] if n < len(goals) else last
        now_s = float(n)
        done = step(model.facts(now_s), _fit(goal, model), LIMITS, now_s)
        if done.act is not Act.WAIT:
            model.take(done, now_s)
        if model.deleted:
            break
        assert model.charge_mib >= model.memory_mib, "charged less than it holds"
        model.passes()
        model.ready = model.ready or n > 3
    assert settled(model), model
    if last is State.ENDED:
        assert model.deleted


def _fit(goal: State | None, model: Model) -> State | None:
    """A plan never asks an engine for what it does already."""
    if goal is State.ASLEEP and model.state is not State.AWAKE:
        return None
    if goal is State.AWAKE and model.state not in (State.ASLEEP, State.SLEEPING):
        return None
    return goal


def test_peaks_remember_the_most_load_of_the_window_and_no_longer() -> None:
    peaks = Peaks()
    for at_s, load in ((0, 5), (10, 2), (20, 3), (21, 0)):
        peaks.note(load, at_s)
    assert peaks.over(15, 22) == 5
    assert peaks.over(10, 25) == 3
    assert peaks.over(10, 32) == 0


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), max_size=30), st.integers(1, 20))
def test_peaks_equal_the_plain_maximum(changes: list[tuple[int, int]], window: int) -> None:
    peaks, now, loads = Peaks(), 0, [(0, 0)]
    for pause, load in changes:
        now += pause
        peaks.note(load, now)
        loads.append((now, load))
    ends = [at for at, _ in loads[1:]] + [now]
    plain = max(load for (_, load), end in zip(loads, ends, strict=True) if end >= now - window)
    assert peaks.over(window, now) == max(plain, loads[-1][1])


@pytest.mark.parametrize("state", [State.PENDING, State.STARTING, State.ASLEEP])
def test_an_engine_without_requests_is_removed_at_once(state: State) -> None:
    assert taken(State.ENDED, state=state, gate=False).act is Act.DELETE
    assert taken(State.ENDED, state=state, gate=True).act is Act.CLOSE_GATE
