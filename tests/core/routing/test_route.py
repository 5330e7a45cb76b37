"""The order and the outcomes of the whole decision."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.routing import Decision, Hold, Permission, Refuse, Request, Serve, Wait, route

from .conftest import World, asked, engine

ANYBODY = (Permission("anybody", allow=lambda q: True),)
ROOT = (Permission("root", allow=lambda q: q.user.name == "root"),)
NOW_S = 1000.0


def decide(world: World, request: Request) -> Decision:
    return route(request, world.directory, world.loads, NOW_S, 0.5)


def refused(decision: Decision) -> tuple[int, str, bool]:
    assert isinstance(decision, Refuse)
    return decision.status, decision.code, decision.retry_after_s is not None


def test_nobody_is_told_anything_before_who_asks_is_known(world: World) -> None:
    assert refused(decide(world, asked("unknown", caller=None))) == (401, "invalid_api_key", False)


def test_an_unknown_model_is_not_found(world: World) -> None:
    assert refused(decide(world, asked("unknown"))) == (404, "model_not_found", False)


def test_permission_comes_before_every_fact_about_the_pool(world: World) -> None:
    world.pool("llama", obstacle="Stalled", lasting=True)
    world.policy("org/llama", permissions=ROOT)
    assert refused(decide(world, asked())) == (403, "permission_denied", False)


def test_an_awake_engine_serves_and_the_model_is_left_alone(world: World) -> None:
    world.pool("llama", engine())
    decision = decide(world, asked())
    assert isinstance(decision, Serve)
    assert (decision.pool, decision.endpoint.pod_uid, decision.rewrite_model) == ("chat/llama", "e", None)
    assert decision.reasons == ("0 in flight, the least of 1",)


def test_an_alias_asks_for_the_models_own_name(world: World) -> None:
    world.pool("llama", engine(), aliases=("short",))
    decision = decide(world, asked("short"))
    assert isinstance(decision, Serve)
    assert decision.rewrite_model == "org/llama"


@pytest.mark.parametrize(
    "off", [{"awake": False}, {"leaving": True}, {"asleep_by_gauge": True}, {"ready": False}, {"address": ""}]
)
def test_a_pool_without_a_pickable_engine_holds(world: World, off: dict[str, Any]) -> None:
    world.pool("llama", engine(**off), hold_s=7.0)
    assert decide(world, asked()) == Hold("chat/llama", 7.0, ("no awake engine",))


def test_a_waiting_request_keeps_its_deadline(world: World) -> None:
    world.pool("llama")
    decision = decide(world, asked(wait=Wait("chat/llama", NOW_S + 3)))
    assert isinstance(decision, Hold)
    assert decision.limit_s == 3


def test_without_an_engine_and_without_time_it_is_503(world: World) -> None:
    world.pool("llama")
    assert refused(decide(world, asked(wait=Wait("chat/llama", NOW_S)))) == (503, "no_endpoint", True)


def test_a_pool_that_never_holds_refuses_at_once(world: World) -> None:
    world.pool("llama", hold_s=0.0)
    assert refused(decide(world, asked())) == (503, "no_endpoint", True)


def test_a_full_waiting_room_sheds_newcomers_but_not_those_inside(world: World) -> None:
    world.pool("llama", waiting=5, waiting_max=5)
    assert refused(decide(world, asked())) == (429, "waiting_room_full", True)
    assert isinstance(decide(world, asked(wait=Wait("chat/llama", NOW_S + 1))), Hold)


def test_a_lasting_obstacle_refuses_at_once_and_says_why(world: World) -> None:
    world.pool("llama", obstacle="VariantFitsNoGPU", lasting=True)
    decision = decide(world, asked())
    assert refused(decision) == (503, "pool_cannot_serve", True)
    assert isinstance(decision, Refuse)
    assert "VariantFitsNoGPU" in decision.message


def test_a_passing_obstacle_without_a_fallback_holds(world: World) -> None:
    world.pool("llama", obstacle="InsufficientWatts")
    decision = decide(world, asked())
    assert isinstance(decision, Hold)
    assert "InsufficientWatts" in decision.reasons


def test_an_obstacle_does_not_matter_while_an_engine_is_awake(world: World) -> None:
    world.pool("llama", engine(), obstacle="InsufficientWatts")
    world.pool("small", engine("s"))
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    decision = decide(world, asked())
    assert isinstance(decision, Serve)
    assert decision.pool == "chat/llama"


@pytest.mark.parametrize(
    "wanted",
    [
        {"obstacle": "InsufficientWatts"},
        {"obstacle": "Stalled", "lasting": True},
        {"hold_s": 0.0},
        {"waiting": 1, "waiting_max": 1},
    ],
)
def test_the_fallback_serves_when_the_pool_cannot(world: World, wanted: dict[str, Any]) -> None:
    world.pool("llama", **wanted)
    world.pool("small", engine("s"))
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    decision = decide(world, asked())
    assert isinstance(decision, Serve)
    assert (decision.pool, decision.endpoint.pod_uid, decision.rewrite_model) == (
        "chat/small",
        "s",
        "org/small",
    )
    assert any("chat/llama cannot serve" in reason for reason in decision.reasons)


def test_a_fallback_that_sleeps_is_held_for(world: World) -> None:
    world.pool("llama", obstacle="InsufficientMemory")
    world.pool("small", hold_s=9.0)
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    decision = decide(world, asked())
    assert isinstance(decision, Hold)
    assert (decision.pool, decision.limit_s) == ("chat/small", 9.0)


def test_a_pool_that_merely_sleeps_is_held_for_not_replaced(world: World) -> None:
    world.pool("llama")
    world.pool("small", engine("s"))
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    decision = decide(world, asked())
    assert isinstance(decision, Hold)
    assert decision.pool == "chat/llama"


def test_a_fallback_passes_the_same_permission(world: World) -> None:
    world.pool("llama", obstacle="Stalled", lasting=True)
    world.pool("small", engine("s"))
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    world.policy("org/small", permissions=ROOT)
    decision = decide(world, asked())
    assert refused(decision) == (503, "pool_cannot_serve", True)
    assert "no rule of policy chat/p1 allows it" in decision.reasons[-1]


@pytest.mark.parametrize("fallback", ["missing", "llama"])
def test_a_fallback_that_leads_nowhere_changes_nothing(world: World, fallback: str) -> None:
    world.pool("llama", obstacle="Stalled", lasting=True)
    world.policy("org/llama", permissions=ANYBODY, fallbacks=(fallback,))
    assert refused(decide(world, asked())) == (503, "pool_cannot_serve", True)


def test_a_fallback_is_not_looked_for_in_another_namespace(world: World) -> None:
    world.pool("llama", obstacle="Stalled", lasting=True)
    world.pool("small", engine("s"), namespace="other")
    world.policy("org/llama", permissions=ANYBODY, fallbacks=("small",))
    assert refused(decide(world, asked())) == (503, "pool_cannot_serve", True)


def test_a_subset_restricts_the_pick_and_never_holds(world: World) -> None:
    world.pool("llama", engine("a", in_flight=9), engine("b"))
    decision = decide(world, asked(subset=frozenset({"a:8000"})))
    assert isinstance(decision, Serve)
    assert decision.endpoint.pod_uid == "a"
    for subset in (frozenset({"c:8000"}), frozenset()):
        assert refused(decide(world, asked(subset=subset))) == (503, "no_endpoint", True)
