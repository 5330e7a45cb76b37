"""Who may ask for which model, and what is said to who may not."""

from __future__ import annotations

import aiohttp
import pytest

from ingle_lab.demo import steps
from ingle_lab.demo.clients import Client
from ingle_lab.demo.scene import Scene


async def test_a_caller_without_permission_gets_403_that_names_the_rule(scene: Scene) -> None:
    await steps.permissions(scene)


async def test_a_caller_without_a_good_token_gets_401(scene: Scene) -> None:
    answer = await Client(scene.session, scene.stack.gateway, "not-a-token").ask("llama-8b")
    assert answer.status == 401, answer


async def test_a_model_that_no_policy_names_takes_any_authenticated_caller(scene: Scene) -> None:
    answer = await scene.clients["guest"].ask("llama-8b")
    assert answer.good, answer


async def test_an_unknown_model_gets_404_with_its_name(scene: Scene) -> None:
    answer = await scene.clients["team"].ask("no-such-model")
    assert answer.status == 404, answer
    assert "no-such-model" in answer.message


@pytest.mark.parametrize("path", ["/sleep?level=1", "/wake_up", "/lab/fault", "/metrics"])
async def test_nothing_but_the_api_of_models_reaches_an_engine(scene: Scene, path: str) -> None:
    headers = {"Authorization": f"Bearer {scene.clients['team'].token}"}
    limit = aiohttp.ClientTimeout(total=10)
    url = f"{scene.stack.gateway}{path}"
    async with scene.session.post(url, headers=headers, json={"model": "llama-8b"}, timeout=limit) as reply:
        assert reply.status == 404
