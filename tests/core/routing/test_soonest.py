"""When a pool that sleeps could answer, and which of several is taken."""

from __future__ import annotations

import itertools

import pytest

from ingle_core.routing import Decision, Hold, Permission, Refuse, Request, Serve, Wait, Warmth, route
from ingle_core.routing.soonest import START_S, readiness, retry_after_s

from .conftest import World, asked, engine

NOW_S = 1000.0
ANYBODY = (Permission("anybody", allow=lambda q: True),)


def decide(world: World, request: Request | None = None) -> Decision:
    return route(request or asked(), world.directory, world.loads, NOW_S, 0.5)


def choice(world: World, *others: str, request: Request | None = None, sooner: bool = True) -> str:
    """The pool that a caller of llama is sent to, or held for."""
    world.policy("org/llama", permissions=ANYBODY, fallbacks=others, sooner=sooner)
    decision = decide(world, request)
    assert isinstance(decision, Serve | Hold)
    return decision.pool.removeprefix("chat/")


ORDER = [
    Warmth("Waking", NOW_S - 1, wake_s=2),
    Warmth("AsleepL1", wake_s=2),
    Warmth("AsleepL2", wake_s=2),
    Warmth("Starting", NOW_S - 1, start_s=100),
    Warmth("Pending"),
]


@pytest.mark.parametrize(("sooner", "later"), list(itertools.pairwise(ORDER)))
def test_waking_is_sooner_than_asleep_than_starting_than_cold(
    world: World, sooner: Warmth, later: Warmth
) -> None:
    world.pool("llama", engines=(later,))
    world.pool("small", engines=(sooner,))
    assert choice(world, "small") == "small"


def test_what_is_not_measured_keeps_the_same_order(world: World) -> None:
    states = ("Waking", "AsleepL1", "AsleepL2", "Starting", "Pending")
    pools = [world.pool(state.lower(), engines=(Warmth(state, NOW_S),)) for state in states]
    assert pools == sorted(pools, key=lambda pool: readiness(pool, NOW_S))


def test_an_awake_one_is_taken_though_the_one_asked_for_is_about_to_wake(world: World) -> None:
    world.pool("llama", engines=(Warmth("Waking", NOW_S, wake_s=0.1),))
    world.pool("small", engine("s"))
    assert choice(world, "small") == "small"


def test_the_measured_times_decide_between_two_sleepers(world: World) -> None:
    world.pool("llama", engines=(Warmth("AsleepL1", wake_s=9),))
    world.pool("small", engines=(Warmth("AsleepL1", wake_s=4),))
    world.pool("tiny", engines=(Warmth("AsleepL1", wake_s=1),))
    assert choice(world, "small", "tiny") == "tiny"


def test_a_start_that_is_nearly_done_is_sooner_than_a_long_wake(world: World) -> None:
    world.pool("llama", engines=(Warmth("AsleepL1", wake_s=9),))
    world.pool("small", engines=(Warmth("Starting", NOW_S - 98, start_s=100),))
    assert choice(world, "small") == "small"


def test_the_model_asked_for_is_taken_where_no_other_is_sooner(world: World) -> None:
    world.pool("llama", engines=(Warmth("AsleepL1", wake_s=3),))
    world.pool("small", engines=(Warmth("AsleepL1", wake_s=3),))
    assert choice(world, "small") == "llama"


def test_a_policy_that_does_not_ask_for_sooner_waits_for_the_model_asked_for(world: World) -> None:
    world.pool("llama")
    world.pool("small", engine("s"))
    assert choice(world, "small", sooner=False) == "llama"


def test_where_the_model_cannot_serve_the_soonest_of_the_others_does(world: World) -> None:
    world.pool("llama", obstacle="InsufficientWatts")
    world.pool("small")
    world.pool("tiny", engines=(Warmth("AsleepL1"),))
    assert choice(world, "small", "tiny", sooner=False) == "tiny"


def test_the_first_named_awake_one_is_taken(world: World) -> None:
    world.pool("llama", obstacle="InsufficientWatts")
    world.pool("small", engine("s", in_flight=9))
    world.pool("tiny", engine("t"))
    assert choice(world, "small", "tiny", sooner=False) == "small"


def test_what_the_caller_may_not_use_is_passed_over(world: World) -> None:
    world.pool("llama", engines=(Warmth("AsleepL1"),))
    world.pool("small", engine("s"))
    world.pool("tiny", engine("t"))
    world.policy("org/small", permissions=())
    assert choice(world, "small", "tiny") == "tiny"


def test_who_waits_stays_in_line_until_one_is_awake(world: World) -> None:
    waits = asked(wait=Wait("chat/llama", NOW_S + 30))
    world.pool("llama", engines=(Warmth("AsleepL1", wake_s=9),))
    world.pool("small", engines=(Warmth("AsleepL1", wake_s=1),))
    assert choice(world, "small", request=waits) == "llama"
    world.pool("tiny", engine("t"))
    world.policies.clear()
    assert choice(world, "small", "tiny", request=waits) == "tiny"


def test_an_overdue_wake_counts_as_one_that_begins_now(world: World) -> None:
    hung = world.pool("llama", engines=(Warmth("Waking", NOW_S - 500, wake_s=2),))
    assert readiness(hung, NOW_S).in_s == 2


def test_a_pool_without_engines_takes_its_own_or_the_usual_time_to_start(world: World) -> None:
    assert readiness(world.pool("llama"), NOW_S).in_s == START_S
    stopped = world.pool("small", engines=(Warmth("Stopping", start_s=30),))
    assert readiness(stopped, NOW_S).in_s == 30


def test_retry_after_is_when_the_engine_under_way_should_be_there(world: World) -> None:
    assert retry_after_s(world.pool("a", engines=(Warmth("Starting", NOW_S - 90, start_s=100),)), NOW_S) == 10
    assert retry_after_s(world.pool("b", engines=(Warmth("Waking", NOW_S, wake_s=0.3),)), NOW_S) == 1
    assert retry_after_s(world.pool("c", engines=(Warmth("Starting", NOW_S, start_s=300),)), NOW_S) == 30
    assert retry_after_s(world.pool("d", engines=(Warmth("AsleepL1"),)), NOW_S) == 5


def test_a_full_room_makes_way_for_a_tenant_that_holds_less(world: World) -> None:
    pool = world.pool("llama", waiting=4, waiting_max=4)
    world.loads[pool.key] = world.loads[pool.key]._replace(shares={"user bob": 3, "user alice": 1})
    decision = decide(world)
    assert isinstance(decision, Hold)
    assert decision.displaces == "user bob"


def test_a_full_room_sheds_a_tenant_that_would_hold_as_much(world: World) -> None:
    pool = world.pool("llama", waiting=4, waiting_max=4)
    world.loads[pool.key] = world.loads[pool.key]._replace(shares={"user bob": 2, "user alice": 2})
    decision = decide(world)
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.code) == (429, "waiting_room_full")


@pytest.mark.parametrize("pool", [{"obstacle": "InsufficientMemory"}, {"waiting_max": 0}])
def test_a_full_room_is_503_where_no_engine_is_there_or_on_its_way(
    world: World, pool: dict[str, object]
) -> None:
    world.pool("llama", waiting=4, **({"waiting_max": 4} | pool))
    decision = decide(world)
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.code) == (503, "no_endpoint")
    assert decision.retry_after_s
