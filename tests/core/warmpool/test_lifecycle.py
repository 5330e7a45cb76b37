"""One engine's steps, each by itself; test_life_model.py holds the promise that from anywhere it ends well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
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


def test_one_that_is_wanted_wakes_as_soon_as_its_sleep_has_ended() -> None:
    facts = {"state": State.SLEEPING, "asleep": True, "drained": True, "sleep_sent": True}
    assert taken(State.AWAKE, gate=False, **facts).to is State.WAKING  # whatever was measured by then
    assert taken(State.AWAKE, gate=False, **(facts | {"measured_mib": None})).to is State.WAKING
    assert taken(State.AWAKE, gate=True, **facts).act is Act.CLOSE_GATE
    assert taken(State.AWAKE, gate=False, **(facts | {"asleep": False})).to is not State.WAKING
    assert taken(None, gate=False, **facts).act is Act.WAIT


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


def test_an_engine_that_became_slow_takes_no_requests_until_it_is_probed_again() -> None:
    assert taken(slow=True) == Step(Act.MOVE, "SlowAgain", State.STARTING)
    assert taken(state=State.STARTING, probed=False).act is Act.CLOSE_GATE
    assert taken(state=State.STARTING, gate=False, probed=False).act is Act.PROBE
    assert taken(State.ASLEEP, slow=True).to is State.SLEEPING


def test_a_hot_engine_is_looked_at_again_only_when_that_is_due() -> None:
    assert taken(probe_due=True).act is Act.PROBE
    assert taken().act is Act.WAIT


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
    assert taken(State.ENDED, state=state, gate=False, drained=True).act is Act.DELETE
    assert taken(State.ENDED, state=state, gate=True, drained=True).act is Act.CLOSE_GATE


def test_an_engine_that_is_probed_again_is_drained_before_it_goes() -> None:
    still = taken(State.ENDED, state=State.STARTING, gate=False, drained=False)
    assert (still.act, still.to) == (Act.MOVE, State.STOPPING)


def test_a_sleeper_that_is_to_drop_its_weights_wakes_is_noted_and_sleeps_again_with_its_gate_closed() -> None:
    drop = {"drop": True, "gate": False}
    first = taken(State.ASLEEP, state=State.ASLEEP, asleep=True, **drop)
    assert (first.to, first.reason) == (State.WAKING, "HostMemoryWanted")
    assert taken(State.ASLEEP, state=State.WAKING, asleep=True, **drop).act is Act.CALL_WAKE
    assert taken(State.ASLEEP, state=State.WAKING, **drop).to is State.AWAKE
    assert taken(State.ASLEEP, **drop) == Step(Act.LOWER)
    assert taken(State.ASLEEP, gate=False).to is State.SLEEPING


def test_a_wake_that_was_only_to_drop_weights_and_is_wanted_by_nobody_any_more_serves() -> None:
    assert taken(None, gate=False, drop=False).act is Act.OPEN_GATE
    assert taken(
        State.ASLEEP, state=State.WAKING, drop=True, gate=False, wake_refused=True, asleep=True
    ).failed
