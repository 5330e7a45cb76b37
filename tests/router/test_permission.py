"""Who is let in, end to end. The rules of permission alone are in tests/core/routing/test_permit.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import MakeRig, Rig

STAFF = {"name": "staff", "allow": "'staff' in user.groups"}


async def refused(rig: Rig, model: str, token: str) -> tuple[int, str]:
    status, body, _ = await rig.answer(model, token)
    return status, body["error"]["message"]


async def test_no_token_or_a_bad_one_is_401(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    for header in ("", "Bearer ", "Basic alice", "Bearer bad-token"):
        status, body, _ = await rig.answer("org/llama", headers={"authorization": header})
        assert (header, status, body["error"]["type"]) == (header, 401, "authentication_error")
    assert engine.seen == []


async def test_an_unknown_model_is_404(rig: Rig) -> None:
    status, body, _ = await rig.answer("nothing")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_a_refusal_names_the_policy_or_the_rule(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    await rig.engine("llama")
    rig.policy("p", ["org/llama"], [STAFF, {"name": "not-bob", "deny": "user.name == 'bob'"}])
    for name in ("org/llama", "short", "chat/llama"):
        status, message = await refused(rig, name, "alice")
        assert status == 403
        assert "no rule of policy chat/p allows" in message
    status, message = await refused(rig, "org/llama", "bob:staff")
    assert status == 403
    assert "'not-bob' of policy chat/p denies" in message
    assert (await rig.answer("org/llama", "carol:staff"))[0] == 200


@pytest.mark.parametrize("broken", ["user.nothing == 1", "'a' +", "user.groups[99] == 'x'"])
@pytest.mark.parametrize("side", ["allow", "deny"])
async def test_a_rule_that_fails_denies_everybody(rig: Rig, broken: str, side: str) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    rig.policy("p", ["org/llama"], [STAFF, {"name": "broken", side: broken}])
    status, message = await refused(rig, "org/llama", "carol:staff")
    assert status == 403
    assert "'broken' of policy chat/p" in message
    assert engine.seen == []


async def test_a_policy_that_is_not_accepted_allows_nothing(rig: Rig) -> None:
    from ingle_router.permissions import compile_rule
    from ingle_router.rules import policy_of

    rig.pool("llama")
    await rig.engine("llama")
    status: dict[str, Any] = {
        "conditions": [
            {"type": "Accepted", "status": "False", "reason": "PoolNotFound", "observedGeneration": 1}
        ]
    }
    spec = {"models": ["org/llama"], "permissions": [STAFF]}
    metadata = {"name": "p", "namespace": "chat", "generation": 1}
    obj = {"metadata": metadata, "spec": spec, "status": status}
    rig.cluster.on_policy(("chat", "p"), None, policy_of(obj, compile_rule))
    code, message = await refused(rig, "org/llama", "carol:staff")
    assert code == 403
    assert "not accepted: PoolNotFound" in message


async def test_many_requests_with_one_token_are_one_token_review(rig: Rig) -> None:
    rig.pool("llama")
    await rig.engine("llama")
    answers = await asyncio.gather(*(rig.answer("org/llama") for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    assert len(rig.reviewer.asked) == 1
    assert rig.reviewer.asked[0]["spec"]["audiences"] == ["ingle.dev"]


async def test_a_token_is_asked_about_again_when_its_time_is_over(make_rig: MakeRig) -> None:
    rig = await make_rig(token_known_s=0, token_unknown_s=0)
    rig.pool("llama")
    await rig.engine("llama")
    for token in ("alice", "alice", "bad", "bad"):
        await rig.answer("org/llama", token)
    assert len(rig.reviewer.asked) == 4


async def test_an_api_server_that_is_away_is_503_not_401(rig: Rig) -> None:
    rig.pool("llama")
    rig.reviewer.down = True
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "token_not_verified", "2")


async def test_a_fallback_answers_and_says_so(rig: Rig) -> None:
    stalled = {"conditions": [{"type": "Ready", "status": "False", "reason": "InsufficientWatts"}]}
    rig.pool("big", status=stalled)
    rig.pool("small")
    small = await rig.engine("small")
    rig.policy("p", ["org/big"], [STAFF], fallback={"pool": "small"})
    status, body, headers = await rig.answer("org/big", "carol:staff")
    assert (status, body["model"], headers["x-ingle-served-by"]) == (200, "org/small", "chat/small")
    assert small.seen[0][2]["model"] == "org/small"


async def test_a_fallback_passes_the_same_check(rig: Rig) -> None:
    stalled = {"conditions": [{"type": "Stalled", "status": "True", "reason": "VariantFitsNoGPU"}]}
    rig.pool("big", status=stalled)
    rig.pool("small")
    small = await rig.engine("small")
    rig.policy("p", ["org/big"], [STAFF], fallback={"pool": "small"})
    rig.policy("q", ["org/small"], [{"name": "root", "allow": "user.name == 'root'"}])
    status, body, headers = await rig.answer("org/big", "carol:staff")
    assert (status, body["error"]["code"]) == (503, "pool_cannot_serve")
    assert "VariantFitsNoGPU" in body["error"]["message"]
    assert headers["retry-after"]
    assert small.seen == []
