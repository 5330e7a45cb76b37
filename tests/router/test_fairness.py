"""Who gets a place where there are few, and who goes first when the engine is awake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import MakeRig, Rig, eventually

ONE_BY_ONE = {"released_max": 1, "released_s": 600.0}
Task = asyncio.Task[tuple[int, dict[str, Any], Any]]


async def held(rig: Rig, token: str, count: int = 1, **more: Any) -> list[Task]:
    """Requests of one caller that wait, in the order in which they came; each says who it is."""
    tasks: list[Task] = []
    before = rig.waiting("chat/llama")
    for number in range(count):
        tasks.append(asyncio.create_task(rig.answer("org/llama", token, who=f"{token}{number}", **more)))
        await eventually(lambda: rig.waiting("chat/llama") == before + len(tasks))
    return tasks


async def statuses(tasks: list[Task]) -> list[int]:
    return [status for status, _, _ in await asyncio.gather(*tasks)]


async def test_a_full_room_takes_from_whoever_has_most(rig: Rig) -> None:
    rig.pool("llama", hold={"waiting": 4})
    alice = await held(rig, "alice", 4)
    bob = asyncio.create_task(rig.answer("org/llama", "bob"))
    status, body, headers = await alice.pop()
    assert (status, body["error"]["code"]) == (429, "waiting_room_full")
    assert int(headers["retry-after"]) > 0
    assert (await rig.answer("org/llama", "alice"))[0] == 429
    await rig.engine("llama")
    assert await statuses([*alice, bob]) == [200] * 4
    await eventually(rig.at_rest)


async def test_a_stream_that_gives_way_is_told_in_band(rig: Rig) -> None:
    rig.pool("llama", hold={"waiting": 2})
    alice = await held(rig, "alice")
    async with rig.ask("org/llama", "alice", stream=True) as response:
        await response.content.readuntil(b"\n\n")
        bob = asyncio.create_task(rig.answer("org/llama", "bob"))
        rest = await response.content.read()
    assert b'"code":"waiting_room_full","retry_after":5}' in rest
    assert rest.endswith(b"data: [DONE]\n\n")
    await rig.engine("llama")
    assert await statuses([*alice, bob]) == [200, 200]
    await eventually(rig.at_rest)


async def test_bytes_are_shared_as_places_are(make_rig: MakeRig) -> None:
    rig = await make_rig(waiting_bytes_max=20_000)
    rig.pool("llama")
    rig.pool("other")
    alice = await held(rig, "alice", 2, padding="x" * 8_000)
    bob = asyncio.create_task(rig.answer("org/other", "bob", padding="x" * 8_000))
    assert (await alice.pop())[0] == 429
    assert (await rig.answer("org/llama", "alice", padding="x" * 8_000))[0] == 429
    places = rig.running.router.places
    await eventually(lambda: rig.waiting("chat/other") == 1 and places.held_bytes <= 20_000)
    await rig.engine("llama")
    await rig.engine("other")
    assert await statuses([*alice, bob]) == [200, 200]
    await eventually(rig.at_rest)


async def test_tenants_take_turns_when_the_engine_is_awake(make_rig: MakeRig) -> None:
    rig = await make_rig(**ONE_BY_ONE)
    rig.pool("llama")
    tasks = [*await held(rig, "alice", 4), *await held(rig, "bob", 2)]
    engine = await rig.engine("llama")
    assert set(await statuses(tasks)) == {200}
    order = [body["who"] for _, _, body in engine.seen]
    assert order == ["alice0", "bob0", "alice1", "bob1", "alice2", "alice3"]
    await eventually(rig.at_rest)


async def test_no_more_go_at_once_than_are_allowed_for_each_engine(make_rig: MakeRig) -> None:
    rig = await make_rig(released_max=2, released_s=600.0)
    rig.pool("llama")
    tasks = await held(rig, "alice", 7)
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == rig.in_flight(engine) == 2)
    assert rig.waiting("chat/llama") == 5
    engine.answer.set()
    assert await statuses(tasks) == [200] * 7
    assert engine.open_max == 2
    await eventually(rig.at_rest)


async def test_a_line_moves_though_the_engine_has_answered_nothing_yet(make_rig: MakeRig) -> None:
    rig = await make_rig(released_max=1, released_s=0.02)
    rig.pool("llama")
    tasks = await held(rig, "alice", 5)
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == 5)
    engine.answer.set()
    assert await statuses(tasks) == [200] * 5


async def test_a_client_that_leaves_after_its_turn_gives_the_turn_back(make_rig: MakeRig) -> None:
    rig = await make_rig(**ONE_BY_ONE)
    rig.pool("llama")
    first, second = await held(rig, "alice", 2)
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == 1)
    first.cancel()
    await eventually(lambda: len(engine.seen) == 2 and engine.open == 1)
    assert engine.seen[1][2]["who"] == "alice1"
    engine.answer.set()
    assert (await second)[0] == 200
    await eventually(rig.at_rest)


async def test_whose_turn_does_not_come_in_time_is_told_429(make_rig: MakeRig) -> None:
    rig = await make_rig(**ONE_BY_ONE)
    rig.pool("llama")
    first, second = await held(rig, "alice", 2)
    engine = await rig.engine("llama", awake=False)
    engine.answer.clear()
    rig.pod(engine, "llama", awake=True)
    await eventually(lambda: engine.open == 1)
    for place in rig.running.router.places:
        place.until_s = 0.0
        place.stir.set()
    status, body, headers = await second
    assert (status, body["error"]["code"], headers["retry-after"]) == (429, "no_turn_in_time", "1")
    engine.answer.set()
    assert (await first)[0] == 200
    await eventually(rig.at_rest)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_whose_time_is_over_as_the_engine_wakes_is_served(rig: Rig, stream: bool) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama", awake=False)
    asking = asyncio.create_task(_read(rig, stream))
    await eventually(lambda: rig.waiting("chat/llama") == 1)
    for place in rig.running.router.places:
        place.until_s = 0.0
    rig.pod(engine, "llama", awake=True)
    status, text = await asking
    assert (status, b"error" in text) == (200, False)


async def _read(rig: Rig, stream: bool) -> tuple[int, bytes]:
    async with rig.ask("org/llama", stream=stream) as response:
        return response.status, await response.read()
