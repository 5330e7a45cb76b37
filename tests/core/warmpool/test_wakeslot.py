"""Who sleeps ahead of need: only where sleepers beside it gain more than its own next use loses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.wakeslot import Neighbour, sleeps_ahead

GPUS_MIB = {"g0": 80_000, "g1": 80_000}


def neighbour(uid: str, state: str, *gpus: str, awake_mib: int = 45_000, rate: float = 0.01) -> Neighbour:
    return Neighbour(
        uid,
        uid,
        gpus or ("g0",),
        state,
        1_500 if state == "Asleep" else awake_mib,
        1_500,
        awake_mib,
        moves=state == "Awake",
        rate=rate,
        sleep_s=2.0,
        wake_s=0.8,
    )


IDLE, SLEEPER = neighbour("idle", "Awake"), neighbour("sleeper", "Asleep")
SPARE = {"idle": 1, "other": 1}


def chosen(*neighbours: Neighbour, spare: dict[str, int] = SPARE) -> str | None:
    found = sleeps_ahead(GPUS_MIB, neighbours, spare)
    return None if found is None else found.uid


def test_an_idle_engine_makes_room_for_the_sleeper_beside_it() -> None:
    assert chosen(IDLE, SLEEPER) == "idle"


@pytest.mark.parametrize(
    "neighbours",
    [
        (IDLE,),
        (IDLE, neighbour("sleeper", "Asleep", awake_mib=30_000)),  # it fits beside
        (IDLE, neighbour("sleeper", "Asleep", "g1")),
        (IDLE, neighbour("sleeper", "Asleep", rate=0.004)),  # who is wanted seldom gains little
        (replace(IDLE, moves=False), SLEEPER),
        (IDLE, SLEEPER, neighbour("falls", "Sleeping", "g1")),  # one at a time on a node
        (IDLE, SLEEPER, neighbour("wakes", "Waking", awake_mib=10_000)),
        (IDLE, SLEEPER, neighbour("busy", "Awake", awake_mib=40_000)),  # it would not fit all the same
    ],
)
def test_otherwise_it_stays_awake(neighbours: tuple[Neighbour, ...]) -> None:
    assert chosen(*neighbours) is None


def test_it_stays_where_its_pool_wants_it() -> None:
    assert chosen(IDLE, SLEEPER, spare={"idle": 0}) is None


def test_of_two_that_of_the_least_use_sleeps() -> None:
    small = {"awake_mib": 30_000}
    pair = (neighbour("idle", "Awake", rate=0.02, **small), neighbour("other", "Awake", rate=0.006, **small))
    assert chosen(*pair, SLEEPER) == "other"


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_nobody_sleeps_ahead_at_a_loss(rate: float, rates: list[float]) -> None:
    sleepers = [neighbour(str(n), "Asleep", rate=one) for n, one in enumerate(rates)]
    gains = 2.0 * sum(rates) > 0.8 * rate
    assert (chosen(neighbour("idle", "Awake", rate=rate), *sleepers) == "idle") == gains
