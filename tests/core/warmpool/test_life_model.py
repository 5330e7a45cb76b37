"""From anywhere an engine ends well: a model of one, of its pod and the ledger, and of an operator that may die.

The operator may die between any two writes or calls, and the engine may fail in each of the ways it is known to.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool import silent
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import Act, EngineFacts, Limits, Step, charge_mib, step
from ingle_core.warmpool.silent import Told

AWAKE_MIB, RESIDUE_MIB = 40000, 1500
LIMITS = Limits(start_s=100, sleep_s=20, wake_s=30, drain_s=60)
WAKE_STEPS = {1: ("wake all", "reset"), 2: ("wake weights", "reload", "wake kv", "reset")}


@dataclass
class Model:
    """`lag`: rounds until a sleep is done although its call has returned (the caller gave up waiting).

    `silent`: like SGLang it does not say whether it sleeps, and ends when it is told the same twice. `cuts`: for each
    wake, the number of its calls after which the operator dies, or with `dies` False only the answer is lost. Faults:
    `refuses` wakes, `keeps_mib` after a sleep, `hangs_at` a round, loses its node at `gone_at`, is `slow_at` a round.
    `spare`: asleep, there is no engine, and a load takes `loads` rounds, in which it is neither asleep nor awake.
    `level`: on its pod, `slept_at`: of its last sleep; `drop`: another engine wants its host memory.
    """

    state: State
    gate: bool
    asleep: bool
    requests: int
    charge_mib: int
    ready: bool = True
    lag: int = 0
    level: int = 1
    slept_at: int = 1
    drop: bool = False
    spare: bool = False
    loads: int = 0
    loading: int = 0
    unproven: bool = False
    silent: bool = False
    cuts: list[int] = field(default_factory=list)
    dies: bool = True
    refuses: bool = False
    keeps_mib: int = 0
    hangs_at: int | None = None
    gone_at: int | None = None
    slow_at: int | None = None
    pending: int = 0
    half: bool = False
    good: bool = True
    stale: bool = False
    ended: bool = False
    deleted: bool = False
    probed: bool = False
    entered: bool = False
    sent: bool = False
    done: bool = False
    refused: bool = False
    quiet_at_s: float | None = None
    since_s: float = 0.0

    @property
    def memory_mib(self) -> int:
        return RESIDUE_MIB + self.keeps_mib if self.asleep and not self.half else AWAKE_MIB

    def facts(self, now_s: float) -> EngineFacts:
        drained = not self.gate and not self.requests
        if not (drained and self.state is State.SLEEPING):
            self.quiet_at_s = None
        elif self.quiet_at_s is None:
            self.quiet_at_s = now_s
        gone = self.gone_at is not None and now_s >= self.gone_at
        hangs = gone or (self.hangs_at is not None and now_s >= self.hangs_at)
        measured_mib = None if gone else self.memory_mib
        slow = self.state is State.AWAKE and self.slow_at is not None and now_s >= self.slow_at
        self.slow_at = None if slow else self.slow_at
        return EngineFacts(
            state=self.state,
            since_s=self.since_s,
            bound=True,
            running=True,
            ready=self.ready and not gone,
            gate=self.gate,
            asleep=None if hangs else self.word(now_s, measured_mib),
            ended=self.ended and not gone,
            probed=self.probed,
            drained=drained,
            measured_mib=measured_mib,
            residue_mib=RESIDUE_MIB,
            quiet_at_s=self.quiet_at_s,
            sleep_sent=self.sent or not self.entered,
            wake_refused=self.refused,
            fresh=self.state is not State.WAKING or self.done,
            slow=slow and not self.requests,
            drop=self.drop and self.level == 1 and not self.spare,
            spare=self.spare,
            claimed_mib=self.charge_mib if self.spare else None,
        )

    def word(self, now_s: float, measured_mib: int | None) -> bool | None:
        if self.loading:
            return None
        if not self.silent:
            return self.asleep
        quiet_s = now_s - self.quiet_at_s if self.quiet_at_s is not None else 0.0
        told = Told(self.entered, self.sent, self.done, quiet_s, measured_mib, RESIDUE_MIB, LIMITS.slack_mib)
        return silent.asleep(self.state, told)

    def restart(self) -> None:
        """kill -9: what only the process knew is gone; the engine, the gate and the ledger are not."""
        self.probed = self.entered = self.sent = self.done = self.refused = False
        self.quiet_at_s = None

    def take(self, done: Step, now_s: float) -> None:
        if done.act is Act.MOVE:
            assert done.to is not None
            self.state, self.since_s = done.to, now_s
            self.charge_mib = charge_mib(done.to, AWAKE_MIB, RESIDUE_MIB, self.memory_mib)
            self.entered, self.sent, self.done, self.refused = True, False, False, False
            self.probed = self.probed and done.to is not State.STARTING
        elif done.act is Act.PROBE:
            assert not self.gate or self.state is State.AWAKE
            self.probed = not self.asleep
            self.unproven = self.unproven and self.asleep
        elif done.act is Act.OPEN_GATE:
            assert not self.asleep, "the gate of a sleeper was opened"
            assert not self.pending, "the gate of an engine on its way to sleep was opened"
            assert not self.unproven, (
                "the gate of an engine that was loaded anew was opened before it was probed"
            )
            assert self.good, "the gate of an engine without its weights was opened"
            assert not self.stale, "the gate was opened before the prefix cache was reset"
            self.gate = True
        elif done.act is Act.CLOSE_GATE:
            self.gate = False
        elif done.act is Act.CALL_SLEEP:
            self._sleep()
        elif done.act is Act.CALL_WAKE:
            self._wake()
        elif done.act is Act.LOWER:
            assert not self.asleep, "its level changed in its sleep"
            assert not self.pending, "its level changed on its way to sleep"
            self.level = 2
        elif done.act is Act.CALL_REFRESH:
            self.stale, self.done = False, True
        else:
            assert done.act is Act.DELETE
            self.deleted = True

    def _sleep(self) -> None:
        assert not self.gate, "sleep was called before the gate was shut"
        assert not self.requests, "sleep was called before the engine was drained"
        self.ended = self.ended or (self.silent and self.sent)
        self.sent, self.done = True, not self.lag
        self.pending, self.slept_at = self.lag + 1, self.level

    def _wake(self) -> None:
        assert self.charge_mib >= AWAKE_MIB, "woken before it was charged"
        self.sent = True
        if self.refuses:
            self.refused = True
            return
        steps = ("load",) if self.spare else WAKE_STEPS[self.level]
        cut = self.cuts.pop() if self.cuts else len(steps)
        if self.silent and (self.half or not self.asleep) and cut:
            self.ended = True  # resumed twice
            return
        for name in steps[:cut]:
            self.pending = 0
            if name == "load":
                self.load()
            elif name == "reload":
                self.good = True
            elif name == "wake weights":
                self.half = True
            elif name == "reset":
                self.stale = False
            else:
                self.asleep = self.half = False
        self.done = cut >= len(steps)
        if not self.done and self.dies:
            self.restart()

    def load(self) -> None:
        """Once: it was under way, or done."""
        if self.asleep:
            self.asleep, self.unproven, self.probed = False, True, False
            self.loading, self.stale, self.good = self.loads, False, True

    def passes(self) -> None:
        """A round of time: requests end, a sleep that was called comes about."""
        self.requests = max(0, self.requests - 1)
        self.loading = max(0, self.loading - 1)
        if self.pending and not self.ended:
            self.pending -= 1
            if not self.pending:
                self.fall_asleep()

    def fall_asleep(self) -> None:
        self.asleep, self.half, self.stale = True, False, True
        self.good = self.slept_at == 1 and not self.spare


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
    level=st.sampled_from([1, 2]),
    cuts=st.lists(st.integers(0, 4), max_size=3),
    dies=st.booleans(),
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


def run(
    model: Model, goals: list[State | None], kills: set[int], rounds: int, drops: Set[int] = frozenset()
) -> None:
    """Lets time pass; the promises that hold at each moment are asserted here and in the model.

    `drops`: rounds in which its host memory is wanted, which wins over its goal.
    """
    model.slept_at = model.level
    if model.asleep:
        model.fall_asleep()
    if model.state is State.ASLEEP and model.asleep:
        model.charge_mib = charge_mib(State.ASLEEP, AWAKE_MIB, RESIDUE_MIB, model.memory_mib)
    model.requests = model.requests if model.gate else 0
    last = goals[-1]
    for n in range(rounds):
        if n in kills:
            model.restart()
        goal = goals[n] if n < len(goals) else last
        now_s, model.drop = float(n), n in drops
        fitting = State.ASLEEP if model.drop else _fit(goal, model)
        done = step(model.facts(now_s), fitting, LIMITS, now_s)
        if done.act is not Act.WAIT:
            model.take(done, now_s)
        if model.deleted:
            return
        assert model.charge_mib >= model.memory_mib, "charged less than it holds"
        model.passes()
        model.ready = model.ready or n > 3


@settings(max_examples=1000, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60)))
def test_from_any_state_and_with_a_kill_between_any_two_calls_it_ends_awake_asleep_or_gone(
    model: Model, goals: list[State | None], kills: set[int]
) -> None:
    run(model, goals, kills, 120)
    assert settled(model), model
    if goals[-1] is State.ENDED:
        assert model.deleted


@settings(max_examples=250, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60), max_size=8))
def test_an_engine_that_does_not_say_whether_it_sleeps_ends_well_too(
    model: Model, goals: list[State | None], kills: set[int]
) -> None:
    model.silent = True
    model.asleep = {State.STARTING: False, State.AWAKE: False, State.ASLEEP: True}.get(
        model.state, model.asleep
    )
    model.gate = model.gate and not model.asleep
    run(model, goals, kills if model.dies else set(), 160)
    assert settled(model), model
    assert model.dies or not model.ended, "told the same twice by an operator that lives"


FAULTS = st.fixed_dictionaries(
    {
        "refuses": st.booleans(),
        "keeps_mib": st.sampled_from([0, 0, 300, 5000]),
        "hangs_at": st.sampled_from([None, 0, 2, 5, 9]),
        "gone_at": st.sampled_from([None, None, 0, 3, 7]),
        "slow_at": st.sampled_from([None, 1, 6]),
        "silent": st.booleans(),
    }
)


@settings(max_examples=400, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60), max_size=8), FAULTS)
def test_whatever_breaks_it_does_not_stay_on_its_way_and_is_never_charged_less_than_it_holds(
    model: Model, goals: list[State | None], kills: set[int], faults: dict[str, Any]
) -> None:
    model = replace(model, **faults)
    if model.silent:
        model.asleep = {State.STARTING: False, State.AWAKE: False, State.ASLEEP: True}.get(
            model.state, model.asleep
        )
    run(model, goals, kills, 300)
    assert model.deleted or model.state in (State.AWAKE, State.ASLEEP), model


@settings(max_examples=250, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60), max_size=8), st.sets(st.integers(0, 40)))
def test_weights_that_are_dropped_for_another_are_read_again_before_it_serves_whoever_dies_between(
    model: Model, goals: list[State | None], kills: set[int], drops: set[int]
) -> None:
    run(model, goals, kills, 160, drops)
    assert settled(model), model


@settings(max_examples=400, deadline=None)
@given(MODELS, GOALS, st.sets(st.integers(0, 60)), st.sampled_from([0, 1, 6]), st.booleans())
def test_a_spare_is_charged_before_it_loads_and_probed_before_it_serves(
    model: Model, goals: list[State | None], kills: set[int], loads: int, unclaimed: bool
) -> None:
    model = replace(model, spare=True, loads=loads, lag=0)
    model.asleep = {State.AWAKE: False, State.ASLEEP: True}.get(model.state, model.asleep)
    model.gate = model.gate and not model.asleep
    if unclaimed:  # it was placed without its model
        model = replace(
            model, state=State.STARTING, asleep=True, gate=False, requests=0, charge_mib=RESIDUE_MIB
        )
    run(model, goals, kills, 160)
    assert settled(model), model


def test_a_spare_that_starts_is_loaded_unless_nobody_asks_for_it() -> None:
    for goal, state in ((None, State.AWAKE), (State.ASLEEP, State.ASLEEP)):
        model = Model(State.STARTING, False, True, 0, AWAKE_MIB, spare=True, loads=3)
        run(model, [goal], set(), 20)
        assert (model.state, model.gate) == (state, state is State.AWAKE)


def test_a_spare_whose_load_fails_is_replaced_at_once() -> None:
    for state in (State.STARTING, State.WAKING):
        model = Model(state, False, True, 0, AWAKE_MIB, spare=True, refuses=True)
        run(model, [State.AWAKE], set(), 3)
        assert model.deleted


def test_a_sleeper_whose_host_memory_is_wanted_long_enough_ends_asleep_without_it() -> None:
    for kill in range(8):
        model = Model(State.ASLEEP, False, True, 0, RESIDUE_MIB)
        run(model, [None], {kill}, 20, set(range(20)))
        assert (model.state, model.level, model.slept_at, model.gate) == (State.ASLEEP, 2, 2, False)


def test_an_engine_that_answers_a_wake_with_an_error_is_replaced_at_once_and_charged_until_it_is_gone() -> (
    None
):
    model = Model(State.WAKING, False, True, 0, AWAKE_MIB, refuses=True)
    run(model, [State.AWAKE], set(), 2)
    assert model.deleted
    assert model.charge_mib == AWAKE_MIB


def test_a_wake_from_level_2_is_begun_again_by_who_finds_it_half_done() -> None:
    for cut in range(4):
        model = Model(State.WAKING, False, True, 0, AWAKE_MIB, level=2, cuts=[cut])
        run(model, [State.AWAKE], set(), 12)
        assert (model.state, model.gate, model.good, model.stale) == (State.AWAKE, True, True, False)


def _fit(goal: State | None, model: Model) -> State | None:
    """A plan never asks an engine for what it does already."""
    early = model.spare and model.state is State.STARTING
    if goal is State.ASLEEP and model.state is not State.AWAKE and not early:
        return None
    if goal is State.AWAKE and model.state not in (State.ASLEEP, State.SLEEPING):
        return None
    return goal
