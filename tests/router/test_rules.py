"""Reading Kubernetes objects: what counts, what is out of date, what is broken."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.routing import Caller, Question, Warmth, permit
from ingle_router.permissions import compile_rule
from ingle_router.rules import policy_of, pool_of

SPEC = {"model": "m", "engine": {"port": 9000}, "variants": [{"name": "v", "contextTokens": 8192}]}


def pool(*conditions: dict[str, Any]) -> tuple[str, bool]:
    metadata = {"name": "a", "namespace": "n", "generation": 2}
    read = pool_of({"metadata": metadata, "spec": SPEC, "status": {"conditions": list(conditions)}}).pool
    return read.obstacle, read.lasting


def condition(type: str, status: str, reason: str, generation: int = 2) -> dict[str, Any]:
    return {"type": type, "status": status, "reason": reason, "observedGeneration": generation}


@pytest.mark.parametrize(
    ("conditions", "obstacle"),
    [
        ([], ("", False)),
        ([condition("Ready", "False", "Asleep")], ("", False)),
        ([condition("Ready", "True", "Serving")], ("", False)),
        ([condition("Ready", "False", "InsufficientWatts")], ("InsufficientWatts", False)),
        ([condition("Ready", "False", "InsufficientMemory")], ("InsufficientMemory", False)),
        ([condition("Ready", "False", "VariantFitsNoGPU")], ("VariantFitsNoGPU", True)),
        ([condition("Ready", "False", "EngineNeverReady")], ("EngineNeverReady", True)),
        ([condition("Stalled", "True", "ModelConflicted")], ("ModelConflicted", True)),
        ([condition("Stalled", "True", "EngineNeverReady", generation=1)], ("", False)),
    ],
)
def test_a_pool_cannot_serve_for_the_reasons_that_count(
    conditions: list[dict[str, Any]], obstacle: tuple[str, bool]
) -> None:
    assert pool(*conditions) == obstacle


@pytest.mark.parametrize("kind", ["Stalled", "Ready"])
@pytest.mark.parametrize(
    ("states", "lasting"),
    [
        ([], True),
        (["Pending"], True),
        (["Failed", "Stopping"], True),
        (["Starting"], False),
        (["AsleepL2"], False),
    ],
)
def test_waiting_helps_where_engines_failed_but_one_is_on_its_way(
    kind: str, states: list[str], lasting: bool
) -> None:
    conditions = [condition(kind, "True" if kind == "Stalled" else "False", "EngineNeverReady")]
    status = {
        "conditions": conditions,
        "engines": [{"pod": str(n), "state": s} for n, s in enumerate(states)],
    }
    metadata = {"name": "a", "namespace": "n", "generation": 2}
    read = pool_of({"metadata": metadata, "spec": SPEC, "status": status}).pool
    assert (read.obstacle, read.lasting) == ("EngineNeverReady", lasting)


def test_a_pool_reads_its_port_contexts_and_hold() -> None:
    hold = {"seconds": 5, "heartbeatSeconds": 2, "waiting": 7}
    read = pool_of({"metadata": {"name": "a", "namespace": "n"}, "spec": SPEC | {"hold": hold}})
    assert (read.port, read.context_tokens) == (9000, {"v": 8192})
    assert (read.pool.hold_s, read.pool.heartbeat_s, read.pool.waiting_max) == (5, 2, 7)


@pytest.mark.parametrize("spec", [{}, {"permissions": [{"name": "x", "allow": "("}]}, {"permissions": [{}]}])
def test_a_policy_that_cannot_be_read_well_is_kept_and_denies(spec: dict[str, Any]) -> None:
    policy = policy_of(
        {"metadata": {"name": "p", "namespace": "n"}, "spec": {"models": ["m"], **spec}}, compile_rule
    )
    assert policy.models == ("m",)
    assert not permit([policy], Question(Caller("alice"), "m", "/v1/completions")).allowed


def test_rules_see_the_user_the_model_and_the_path() -> None:
    text = "user.name == 'alice' && 'g' in user.groups && request.model == 'm' && request.path == '/v1/completions'"
    rule = compile_rule(text)
    assert rule(Question(Caller("alice", ("g",)), "m", "/v1/completions")) is True
    assert rule(Question(Caller("alice"), "m", "/v1/completions")) is False


def test_a_pool_reads_when_its_engines_were_seen_and_what_they_took() -> None:
    """`since` is Unix time in the object and the clock of decisions in the fact."""
    engines = [
        {"pod": "e", "state": "Waking", "since": "1970-01-01T00:20:00Z", "wakeMilliseconds": 2500},
        {"pod": "f", "state": "Starting", "since": "no time"},
    ]
    metadata = {"name": "a", "namespace": "n"}
    read = pool_of({"metadata": metadata, "spec": SPEC, "status": {"engines": engines}}, unix_s=1000.0).pool
    assert read.engines == (Warmth("Waking", 200.0, 2.5), Warmth("Starting", -1000.0))


@pytest.mark.parametrize(
    ("fallback", "read"),
    [
        ({}, ((), False)),
        ({"pool": "a"}, (("a",), False)),
        ({"pool": "a", "others": ["b", "c"], "when": "Sooner"}, (("a", "b", "c"), True)),
        ({"pool": "a", "when": "Unable"}, (("a",), False)),
    ],
)
def test_a_policy_reads_its_fallbacks_in_order(
    fallback: dict[str, Any], read: tuple[tuple[str, ...], bool]
) -> None:
    spec = {"models": ["m"], "fallback": fallback}
    policy = policy_of({"metadata": {"name": "p", "namespace": "n"}, "spec": spec}, compile_rule)
    assert (policy.fallbacks, policy.sooner) == read
