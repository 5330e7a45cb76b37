"""Who sleeps ahead of need: only where sleepers beside it gain more than its own next use loses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.wakeslot import Neighbour, sleeps_ahead

GPUS_MIB = {"g0": 80_000, "g1": 80_000}


def neighbour(
    uid: str, state: str, *gpus: str, awake_mib: int = 45_000, chance: float = 0.5, idle_s: float = 60.0
) -> Neighbour:
    return Neighbour(
        uid,
        uid,
        gpus or ("g0",),
        state,
        1_500 if state == "Asleep" else awake_mib,
        1_500,
        awake_mib,
        moves=state == "Awake",
        idle_s=idle_s,
        chance=chance,
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
        (IDLE, neighbour("sleeper", "Asleep", chance=0.1)),  # who is wanted seldom gains little
        (IDLE, neighbour("sleeper", "Asleep", idle_s=600)),
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
    pair = (neighbour("idle", "Awake", chance=0.9, **small), neighbour("other", "Awake", chance=0.3, **small))
    assert chosen(*pair, SLEEPER) == "other"


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_nobody_sleeps_ahead_at_a_loss(chance: float, chances: list[float]) -> None:
    sleepers = [neighbour(str(n), "Asleep", chance=c) for n, c in enumerate(chances)]
    gains = 2.0 * sum(chances) > 0.8 * chance
    assert (chosen(neighbour("idle", "Awake", chance=chance), *sleepers) == "idle") == gains
