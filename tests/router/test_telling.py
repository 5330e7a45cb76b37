"""What others read: the demand stream, health, metrics; and the end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import msgspec
import pytest

from ingle_kit.streams import Demand, EndpointDemand, PoolDemand
from ingle_router.gauge import asleep_by
from ingle_router.health import PICKER_SERVICE

from .conftest import MakeRig, Rig, eventually


async def demands(rig: Rig) -> AsyncIterator[Demand]:
    async with rig.http.get(f"http://{rig.settings.listen}:{rig.settings.port_http}/v1/demand") as response:
        async for line in response.content:
            yield msgspec.json.decode(line, type=Demand)


def pool(demand: Demand, key: str) -> PoolDemand:
    return next(p for p in demand.pools if p.pool == key)


async def test_demand_tells_a_new_waiter_at_once_and_again_its_end(make_rig: MakeRig) -> None:
    rig = await make_rig(demand_period_s=60)
    rig.pool("llama")
    stream = demands(rig)
    first = await anext(stream)
    assert pool(first, "chat/llama") == PoolDemand("chat/llama", waiting=0, in_flight=0)
    asking = asyncio.create_task(rig.answer("org/llama"))
    second = pool(await anext(stream), "chat/llama")
    assert (second.waiting, second.arrivals) == (1, 1)
    engine = await rig.engine("llama")
    assert (await asking)[0] == 200
    async for demand in stream:
        now = pool(demand, "chat/llama")
        assert now.waiting + now.in_flight <= 1
        if demand.endpoints == (EndpointDemand(engine.uid, True, 0),) and now.waiting == 0:
            break
    await stream.aclose()


async def test_a_request_that_is_woken_is_never_missing_from_demand(make_rig: MakeRig) -> None:
    rig = await make_rig(demand_period_s=60)
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    stream = demands(rig)
    await anext(stream)
    rig.pod(engine, "llama", awake=True)
    async for demand in stream:
        now = pool(demand, "chat/llama")
        assert now.waiting + now.in_flight == 1
        if now.in_flight:
            break
    engine.answer.set()
    assert (await asking)[0] == 200
    await stream.aclose()


async def test_demand_says_unpickable_at_once_while_requests_are_still_there(make_rig: MakeRig) -> None:
    rig = await make_rig(demand_period_s=60)
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.answer.clear()
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: engine.open == 1)
    stream = demands(rig)
    assert (await anext(stream)).endpoints == (EndpointDemand(engine.uid, True, 1),)
    rig.pod(engine, "llama", awake=False)
    assert (await anext(stream)).endpoints == (EndpointDemand(engine.uid, False, 1),)
    rig.gone(engine)
    assert (await anext(stream)).endpoints == (EndpointDemand(engine.uid, False, 1),)
    engine.answer.set()
    assert (await asking)[0] == 200
    assert (await anext(stream)).endpoints == ()
    await stream.aclose()


async def test_a_pod_that_is_being_deleted_is_not_pickable(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    rig.pod(engine, "llama", awake=True, deletionTimestamp="2026-01-01T00:00:00Z")
    assert not rig.cluster.endpoints[engine.uid].pickable


async def _health(rig: Rig, service: str) -> bytes:
    async with grpc.aio.insecure_channel(
        f"{rig.settings.listen}:{rig.settings.port_picker_health}"
    ) as channel:
        name = service.encode()
        request = bytes((0x0A, len(name))) + name if name else b""
        return bytes(await channel.unary_unary("/grpc.health.v1.Health/Check")(request))


async def test_health_answers_for_each_service_of_the_protocol(rig: Rig) -> None:
    for service in ("liveness", "readiness", PICKER_SERVICE, ""):
        assert await _health(rig, service) == b"\x08\x01"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _health(rig, "other")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    rig.watches.is_synced = False
    assert await _health(rig, "liveness") == b"\x08\x01"
    assert await _health(rig, "readiness") == b"\x08\x02"


async def test_draining_lets_open_streams_end(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.answer.clear()
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: engine.open == 1)
    draining = asyncio.create_task(rig.running.drain())
    await eventually(lambda: rig.running.router.draining)
    assert await _health(rig, "readiness") == b"\x08\x02"
    assert not draining.done()
    engine.answer.set()
    assert (await asking)[0] == 200
    await draining


async def test_whoever_waits_is_told_before_the_end_of_the_drain(make_rig: MakeRig) -> None:
    rig = await make_rig(drain_s=0.2)
    rig.pool("llama")
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    async with rig.ask("org/llama", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        await rig.running.drain()
        assert b'"code":"stopping"' in await response.content.read()
    status, body, headers = await asking
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "stopping", "1")
    await eventually(rig.at_rest)


async def test_a_draining_router_serves_what_is_hot_and_wakes_in_time_but_holds_nothing_new(rig: Rig) -> None:
    rig.pool("llama")
    rig.pool("hot")
    await rig.engine("hot")
    asking = asyncio.create_task(rig.answer("org/llama"))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    draining = asyncio.create_task(rig.running.drain())
    await eventually(lambda: rig.running.router.draining)
    assert (await rig.answer("org/hot"))[0] == 200
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "stopping", "1")
    await rig.engine("llama")
    assert (await asking)[0] == 200
    await draining


async def test_without_its_router_envoy_refuses_instead_of_letting_pass(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.pool("llama")
    engine = await rig.engine("llama")
    await rig.picker_away()
    status, body, headers = await rig.answer("org/llama")
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "router_unavailable", "1")
    assert engine.seen == []


@pytest.mark.parametrize(
    ("text", "asleep"),
    [
        ("", None),
        ('vllm:engine_sleep_state{engine="0",sleep_state="awake"} 1.0\n', False),
        (
            'vllm:engine_sleep_state{sleep_state="awake"} 0.0\nvllm:engine_sleep_state{sleep_state="discard_all"} 1',
            True,
        ),
        ('vllm:engine_sleep_state{sleep_state="awake"} 0.0\n', True),
        ('vllm:engine_sleep_state{sleep_state="weights_offloaded"} 0.0\n', None),
    ],
)
def test_the_sleep_gauge_is_read_as_vllm_writes_it(text: str, asleep: bool | None) -> None:
    assert asleep_by(text) is asleep
