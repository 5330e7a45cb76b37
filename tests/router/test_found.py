"""What a request finds in its pool, counted once a request; and that series go with their pool."""

from __future__ import annotations

import asyncio

import pytest

from ingle_router.found import found_of

from .conftest import Rig, eventually


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ((), "cold"),
        (("Failed", "Stopping"), "cold"),
        (("Pending",), "starting"),
        (("Starting", "AsleepL1"), "asleep"),
        (("AsleepL2",), "asleep"),
        (("AsleepL1", "Waking"), "starting"),
        (("Sleeping",), "asleep"),
    ],
)
def test_the_engine_that_would_be_ready_first_says_what_is_found(states: tuple[str, ...], found: str) -> None:
    assert found_of({"status": {"engines": [{"state": state} for state in states]}}) == found
    assert found_of({}) == "cold"


async def metrics(rig: Rig) -> str:
    async with rig.http.get(f"http://{rig.settings.listen}:{rig.settings.port_http}/metrics") as response:
        return await response.text()


async def test_requests_are_counted_by_what_they_found(rig: Rig) -> None:
    rig.pool("llama")
    held = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    await rig.engine("llama")
    assert (await held)[0] == 200
    assert (await rig.answer("org/llama"))[0] == 200
    text = await metrics(rig)
    assert 'ingle_requests_found_total{found="cold",pool="chat/llama"} 1.0' in text
    assert 'ingle_requests_found_total{found="hot",pool="chat/llama"} 1.0' in text


async def test_series_of_a_pool_that_is_gone_go_too(rig: Rig) -> None:
    rig.pool("llama", hold={"seconds": 0})
    assert (await rig.answer("org/llama"))[0] == 503
    assert 'pool="chat/llama"' in await metrics(rig)
    rig.running.router.cluster.on_pool(("chat", "llama"), None, None)
    await metrics(rig)
    assert 'pool="chat/llama"' not in await metrics(rig)
