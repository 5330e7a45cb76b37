"""Requests to models that are asleep: held, woken, answered, refused."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from ingle_router.demand import snapshot

from .conftest import MakeRig, Rig, eventually


async def metrics(rig: Rig) -> str:
    async with rig.http.get(f"http://{rig.settings.listen}:{rig.settings.port_http}/metrics") as response:
        return await response.text()


async def test_a_streaming_request_sees_comments_then_the_stream(rig: Rig) -> None:
    rig.pool("llama", hold={"heartbeatSeconds": 1})
    engine = await rig.engine("llama", awake=False)
    async with rig.ask("org/llama", stream=True) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert await response.content.readuntil(b"\n\n") == b": waiting\n\n"
        assert rig.waiting("chat/llama") == 1
        assert await response.content.readuntil(b"\n\n") == b": waiting\n\n"
        rig.pod(engine, "llama", awake=True)
        rest = await response.content.read()
    assert rest == b': served by chat/llama\n\ndata: {"n": 0}\n\ndata: {"n": 1}\n\ndata: [DONE]\n\n'
    await eventually(
        lambda: rig.waiting("chat/llama") == rig.in_flight(engine) == len(rig.running.router.places) == 0
    )
    assert 'outcome="woken",pool="chat/llama"} 1.0' in await metrics(rig)


async def test_what_reaches_the_engine_after_a_hold_is_the_request_alone(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    engine = await rig.engine("llama", awake=False)
    asking = asyncio.create_task(
        rig.answer("short", top_p=1, headers={"x-request-id": "r-1", "cookie": "a=b"})
    )
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    assert (await asking)[0] == 200
    path, headers, body = engine.seen[0]
    assert (path, body["model"], body["top_p"]) == ("/v1/chat/completions", "org/llama", 1)
    assert not {"authorization", "cookie", "x-ingle-held"} & headers.keys()


async def test_a_silent_hold_answers_as_a_hot_request_does(rig: Rig) -> None:
    rig.pool("llama")
    asking = [asyncio.create_task(rig.answer("org/llama")) for _ in range(20)]
    await eventually(lambda: rig.waiting("chat/llama") == 20)
    engine = await rig.engine("llama")
    for status, body, headers in await asyncio.gather(*asking):
        assert (status, body["engine"], headers["x-ingle-served-by"]) == (200, engine.uid, "chat/llama")
    await eventually(lambda: rig.in_flight(engine) == rig.waiting("chat/llama") == 0)
    assert 'outcome="cold",pool="chat/llama"} 20.0' in await metrics(rig)
    assert len(rig.reviewer.asked) == 1


async def test_when_the_time_is_over_it_is_503_with_retry_after(rig: Rig) -> None:
    rig.pool("llama", hold={"seconds": 1})
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"]) == (503, "no_endpoint")
    assert int(headers["retry-after"]) > 0


@pytest.mark.parametrize("hold", [{"seconds": 0}, {"waiting": 0}])
async def test_where_nothing_may_wait_it_is_503_at_once_and_demand_all_the_same(
    rig: Rig, hold: dict[str, int]
) -> None:
    rig.pool("llama", hold=hold)
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"]) == (503, "no_endpoint")
    assert int(headers["retry-after"]) > 0
    assert (rig.waiting("chat/llama"), rig.running.router.asked("chat/llama")) == (0, 1)
    assert snapshot(rig.running.router, 1).pools[0].waiting == 1
    await rig.engine("llama")
    assert snapshot(rig.running.router, 2).pools[0].waiting == 0
    assert (await rig.answer("org/llama"))[0] == 200


async def test_when_the_time_is_over_a_stream_is_told_in_band(rig: Rig) -> None:
    rig.pool("llama", hold={"seconds": 1})
    async with rig.ask("org/llama", stream=True) as response:
        text = await response.text()
    assert response.status == 200
    assert '"code":"no_endpoint"' in text
    assert text.endswith("data: [DONE]\n\n")
    await eventually(lambda: len(rig.running.router.places) == 0)


async def test_a_full_waiting_room_is_429_with_retry_after(rig: Rig) -> None:
    rig.pool("llama", hold={"waiting": 2})
    asking = [asyncio.create_task(rig.answer("org/llama")) for _ in range(2)]
    await eventually(lambda: rig.waiting("chat/llama") == 2)
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"]) == (429, "waiting_room_full")
    assert int(headers["retry-after"]) > 0
    await rig.engine("llama")
    assert [status for status, _, _ in await asyncio.gather(*asking)] == [200, 200]


async def test_bytes_in_the_waiting_room_are_bounded(make_rig: MakeRig) -> None:
    rig = await make_rig(waiting_bytes_max=10_000)
    rig.pool("llama")
    asking = asyncio.create_task(rig.answer("org/llama", padding="x" * 8_000))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    status, _, headers = await rig.answer("org/llama", padding="x" * 8_000)
    assert status == 429
    assert int(headers["retry-after"]) > 0
    await rig.engine("llama")
    assert (await asking)[0] == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_place(rig: Rig, stream: bool) -> None:
    rig.pool("llama")
    asking = asyncio.create_task(_read(rig, stream))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    asking.cancel()
    await eventually(lambda: rig.waiting("chat/llama") == len(rig.running.router.places) == 0)
    assert 'outcome="gone",pool="chat/llama"} 1.0' in await metrics(rig)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_after_the_wake_stops_the_engine(rig: Rig, stream: bool) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    asking = asyncio.create_task(_read(rig, stream))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == 1)
    asking.cancel()
    await eventually(lambda: engine.open == rig.in_flight(engine) == len(rig.running.router.places) == 0)


async def _read(rig: Rig, stream: bool) -> Any:
    async with rig.ask("org/llama", stream=stream) as response:
        return await response.read()


async def test_an_engine_that_falls_asleep_again_makes_the_request_wait_again(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.status = 503
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: len(engine.seen) >= 2)
    engine.status = 200
    assert (await asking)[0] == 200
    assert 'ingle_router_holds_total{pool="chat/llama"} 1.0' in await metrics(rig)


async def test_an_error_of_the_engine_after_a_hold_is_told_in_band(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.status = 400
    asking = asyncio.create_task(_read(rig, stream=True))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    text = await asking
    assert b'data: {"error":{"message":"no","code":"engine"}}' in text
    assert text.endswith(b"data: [DONE]\n\n")


async def test_a_held_request_moves_to_the_fallback_when_its_pool_turns_out_not_to_serve(rig: Rig) -> None:
    rig.pool("big")
    rig.pool("small")
    small = await rig.engine("small")
    rules = [{"name": "all", "allow": "true"}]
    rig.policy("p", ["org/big"], rules, fallback={"pool": "small"})
    asking = asyncio.create_task(rig.answer("org/big"))
    await eventually(lambda: rig.waiting("chat/big") == 1)
    rig.pool(
        "big", status={"conditions": [{"type": "Ready", "status": "False", "reason": "InsufficientWatts"}]}
    )
    status, body, headers = await asking
    assert (status, body["engine"], headers["x-ingle-served-by"]) == (200, small.uid, "chat/small")


async def test_the_waiting_room_and_the_internal_listener_need_a_ticket(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    body = {"model": "org/llama"}
    listen, settings = rig.settings.listen, rig.settings
    for port, status in ((settings.port_waiting_room, 403), (settings.port_gateway_internal, 503)):
        headers = {"x-ingle-held": "forged"}
        async with rig.http.post(
            f"http://{listen}:{port}/v1/completions", json=body, headers=headers
        ) as response:
            assert response.status == status
    assert engine.seen == []


async def test_a_sleeper_whose_condition_says_awake_is_not_picked(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.asleep = True
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: not rig.cluster.endpoints[engine.uid].pickable)
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    assert engine.seen == []
    engine.asleep = False
    assert (await asking)[0] == 200


async def test_an_engine_that_dies_before_it_answers_makes_the_request_wait_again(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.dies = 2
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    status, body, _ = await asking
    assert (status, body["engine"], len(engine.seen)) == (200, engine.uid, 3)
    await eventually(rig.at_rest)


async def test_an_engine_that_dies_in_mid_stream_is_told_in_band(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.dies = 1
    engine.answer.clear()
    async with rig.ask("org/llama", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        rig.pod(engine, "llama", awake=True)
        await response.content.readuntil(b'data: {"n": 0}')
        engine.answer.set()
        text = await response.content.read()
    assert b'"code":"stream_broken"' in text
    assert text.endswith(b"data: [DONE]\n\n")
    await eventually(rig.at_rest)


async def test_an_engine_that_dies_in_mid_answer_is_no_whole_answer(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    asking = asyncio.create_task(rig.answer("org/llama", half=True))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == 1 and rig.running.router.places.held == 0)
    engine.answer.set()
    with pytest.raises(aiohttp.ClientError):
        await asking
    await eventually(rig.at_rest)


async def test_what_a_held_answer_needs_no_more_is_given_back_while_it_streams(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    async with rig.ask("org/llama", stream=True, padding="x" * 100_000) as response:
        await response.content.readuntil(b"\n\n")
        places = rig.running.router.places
        assert (places.held, places.held_bytes > 100_000) == (1, True)
        rig.pod(engine, "llama", awake=True)
        await eventually(lambda: places.held == places.held_bytes == 0)
        assert len(places) == 1
        engine.answer.set()
        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
    await eventually(rig.at_rest)


async def test_a_policy_that_asks_for_sooner_sends_to_the_pool_that_wakes_first(rig: Rig) -> None:
    rig.pool("big")
    rig.pool("small", status={"engines": [{"pod": "s", "state": "AsleepL1", "wakeMilliseconds": 900}]})
    rules = [{"name": "all", "allow": "true"}]
    rig.policy("p", ["org/big"], rules, fallback={"pool": "small", "when": "Sooner"})
    asking = asyncio.create_task(rig.answer("org/big"))
    await eventually(lambda: rig.waiting("chat/small") == 1)
    big = await rig.engine("big")
    status, body, headers = await asking
    assert (status, body["engine"], headers["x-ingle-served-by"]) == (200, big.uid, "chat/big")
    await eventually(rig.at_rest)
