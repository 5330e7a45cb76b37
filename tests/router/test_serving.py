"""Hot requests: picking, counting, and what reaches an engine. Holding is in test_holding.py."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from .conftest import CHAT, MakeRig, Rig, eventually


async def test_a_hot_request_is_served_by_an_awake_engine(rig: Rig) -> None:
    rig.pool("llama")
    await rig.engine("llama", awake=False)
    awake = await rig.engine("llama")
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["engine"], headers["x-ingle-served-by"]) == (200, awake.uid, "chat/llama")
    await eventually(lambda: rig.in_flight(awake) == 0)


async def test_requests_in_flight_are_counted_until_the_last_byte(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.answer.clear()
    async with rig.ask("org/llama", stream=True) as response:
        assert (await response.content.readany()).startswith(b"data:")
        assert rig.in_flight(engine) == 1
        engine.answer.set()
        assert b"[DONE]" in await response.content.read()
    await eventually(lambda: rig.in_flight(engine) == 0)


async def test_a_client_that_leaves_in_mid_stream_is_counted_down_once(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.answer.clear()
    responses = [await rig.ask("org/llama", stream=True) for _ in range(8)]
    for response in responses:
        await response.content.readany()
    assert rig.in_flight(engine) == 8
    for response in responses[:5]:
        response.close()
    await eventually(lambda: rig.in_flight(engine) == 3)
    await eventually(lambda: engine.broken_off == 5)
    engine.answer.set()
    for response in responses[5:]:
        await response.content.read()
    await eventually(lambda: rig.in_flight(engine) == 0)


async def test_a_client_that_leaves_before_any_answer_is_counted_down_once(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.answer.clear()
    asking = [asyncio.create_task(rig.answer("org/llama")) for _ in range(4)]
    await eventually(lambda: rig.in_flight(engine) == 4 and engine.open == 4)
    for task in asking:
        task.cancel()
    await eventually(lambda: rig.in_flight(engine) == 0 and engine.open == 0)


async def test_load_spreads_by_requests_in_flight(rig: Rig) -> None:
    rig.pool("llama")
    engines = [await rig.engine("llama") for _ in range(3)]
    for engine in engines:
        engine.answer.clear()
    asking = [asyncio.create_task(rig.answer("org/llama")) for _ in range(9)]
    await eventually(lambda: all(engine.open == 3 for engine in engines))
    for engine in engines:
        engine.answer.set()
    await asyncio.gather(*asking)


async def test_an_engine_that_fails_fast_does_not_attract_requests(rig: Rig) -> None:
    rig.pool("llama")
    good, bad = await rig.engine("llama"), await rig.engine("llama")
    bad.status = 500
    statuses = Counter([(await rig.answer("org/llama"))[0] for _ in range(30)])
    assert statuses[500] <= 2
    assert len(good.seen) >= 28


async def test_secrets_and_identity_headers_never_reach_an_engine(rig: Rig) -> None:
    rig.pool("llama")
    engine, other = await rig.engine("llama"), await rig.engine("llama", awake=False)
    forged = {
        "x-ingle-held": "forged",
        "x-ingle-user": "admin",
        "x-gateway-destination-endpoint": other.address,
        "cookie": "a=b",
        "x-api-key": "k",
        "x-remote-user": "admin",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    status, body, _ = await rig.answer("org/llama", headers=forged)
    assert (status, body["engine"], other.seen) == (200, engine.uid, [])
    headers = engine.seen[0][1]
    assert headers["x-gateway-destination-endpoint"] == engine.address
    forbidden = {"authorization", *forged} - {"x-gateway-destination-endpoint"}
    assert not forbidden & headers.keys()


async def test_only_inference_paths_pass(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    for path in (
        "/sleep",
        "/wake_up",
        "/collective_rpc",
        "/v1/../sleep",
        "/v1/load_lora_adapter",
        "/metrics",
        "/v1//",
    ):
        status, body, _ = await rig.answer("org/llama", path=path)
        assert (path, status, body["error"]["code"]) == (path, 404, "not_found")
    assert engine.seen == []


async def test_an_alias_is_rewritten_to_the_pools_model(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    engine = await rig.engine("llama")
    for name in ("short", "chat/short", "chat/llama", "chat/org/llama"):
        status, body, _ = await rig.answer(name)
        assert (status, body["model"]) == (200, "org/llama")
    assert engine.seen[0][2]["messages"] == [{"role": "user", "content": "hi"}]


async def test_models_lists_what_the_caller_may_use(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    rig.pool("secret")
    rig.policy("p", ["org/secret"], [{"name": "staff", "allow": "'staff' in user.groups"}])

    async def listed(token: str) -> list[str]:
        headers = {"authorization": f"Bearer {token}"}
        async with rig.http.get(f"{rig.url}/v1/models", headers=headers) as response:
            assert response.status == 200
            return [row["id"] for row in (await response.json())["data"]]

    assert await listed("alice") == ["org/llama", "short"]
    assert await listed("bob:staff") == ["org/llama", "org/secret", "short"]
    async with rig.http.get(f"{rig.url}/v1/models") as response:
        assert response.status == 401


async def test_a_body_that_is_too_large_is_413_in_openai_form(make_rig: MakeRig) -> None:
    rig = await make_rig(body_bytes_max=64 * 1024)
    rig.pool("llama")
    engine = await rig.engine("llama")
    status, body, _ = await rig.answer("org/llama", padding="x" * 300_000)
    assert (status, body["error"]["code"], engine.seen) == (413, "body_too_large", [])


async def test_a_body_of_several_megabytes_passes_whole(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    engine = await rig.engine("llama")
    padding = "x" * (7 * 1024 * 1024)
    for name in ("org/llama", "short"):
        assert (await rig.answer(name, padding=padding))[0] == 200
    assert [len(body["padding"]) for _, _, body in engine.seen] == [len(padding)] * 2


async def test_a_body_that_is_no_request_is_400(rig: Rig) -> None:
    for data in (b"", b"{", b"[]", b'{"messages": []}', b'{"model": 3}', b"\xff"):
        headers = {"authorization": "Bearer alice"}
        async with rig.http.post(rig.url + CHAT, data=data, headers=headers) as response:
            assert (data, response.status) == (data, 400)
            assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_an_engine_that_cannot_be_reached_is_a_503_with_retry_after(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.address = engine.address.rpartition(".")[0] + ".99:8000"
    rig.pod(engine, "llama", awake=True)
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "engine_unreachable", "1")
    await eventually(lambda: rig.in_flight(engine) == 0)


async def test_nothing_is_served_before_the_policies_are_known(rig: Rig) -> None:
    rig.watches.is_synced = False
    rig.pool("llama")
    engine = await rig.engine("llama")
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "starting", "1")
    assert engine.seen == []


async def test_prompts_and_tokens_are_in_no_log_and_no_metric(
    rig: Rig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    rig.pool("llama", hold={"seconds": 0})
    for token, content in (("alice", "CANARY-prompt"), ("bad-CANARY-token", "CANARY")):
        messages = [{"role": "user", "content": content}]
        await rig.answer("org/llama", token, messages=messages)
    headers = {"authorization": "Bearer CANARY"}
    await rig.http.post(rig.url + CHAT, data=b'{"model": "CANARY', headers=headers)
    await rig.engine("llama")
    await rig.answer("org/llama", "CANARY", messages=[{"role": "user", "content": "CANARY"}])
    async with rig.http.get(f"http://{rig.settings.listen}:{rig.settings.port_http}/metrics") as response:
        metrics = await response.text()
    assert 'ingle_router_requests_total{code="",outcome="hot",pool="chat/llama"} 1.0' in metrics
    written = metrics + caplog.text + (tmp_path / "envoy.log").read_text()
    assert "CANARY" not in written


async def test_a_body_without_a_length_is_rewritten_too(rig: Rig) -> None:
    rig.pool("llama", aliases=["short"])
    engine = await rig.engine("llama")

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "sho'
        yield b'rt"}'

    headers = {"authorization": "Bearer alice"}
    async with rig.http.post(rig.url + CHAT, data=pieces(), headers=headers) as response:
        assert response.status == 200
    assert engine.seen[0][2] == {"model": "org/llama"}


async def test_a_connection_that_is_used_again_keeps_counts_exact(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    body = orjson.dumps({"model": "org/llama"})
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4)) as session:

        async def ask() -> int:
            headers = {"authorization": "Bearer alice"}
            async with session.post(rig.url + CHAT, data=body, headers=headers) as response:
                await response.read()
                return response.status

        assert Counter(await asyncio.gather(*(ask() for _ in range(100)))) == {200: 100}
    await eventually(lambda: rig.in_flight(engine) == 0)
