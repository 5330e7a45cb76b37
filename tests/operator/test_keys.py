"""The queue of keys: each once, one at a time, bounded pauses, topics apart."""

from __future__ import annotations

import asyncio
import itertools

from ingle_operator.keys import BACKOFF_FIRST_S, BACKOFF_MAX_S, Key, KeyQueue, pause_after_s


async def settled(queue: KeyQueue) -> None:
    async with asyncio.timeout(5):
        while not queue.idle():  # noqa: ASYNC110  # the queue has no event for being idle
            await asyncio.sleep(0)


async def test_a_key_added_many_times_while_it_runs_runs_once_more() -> None:
    runs: list[Key] = []
    gate = asyncio.Event()

    async def work(key: Key) -> None:
        runs.append(key)
        await gate.wait()

    queue = KeyQueue(work, workers=4)
    queue.add(("pool", "a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(5):
        queue.add(("pool", "a"))
    gate.set()
    await settled(queue)
    assert len(runs) == 2
    await queue.close()


async def test_slow_keys_of_one_topic_hold_up_no_other_topic() -> None:
    done: list[Key] = []
    never = asyncio.Event()

    async def work(key: Key) -> None:
        if key[0] == "slow":
            await never.wait()
        done.append(key)

    queue = KeyQueue(work, workers=2, slots={"slow": 3})
    for n in range(9):
        queue.add(("slow", str(n)))
    for n in range(5):
        queue.add(("fast", str(n)))
    async with asyncio.timeout(5):
        while len(done) < 5:  # noqa: ASYNC110  # the list has no event
            await asyncio.sleep(0)
    assert {topic for topic, _ in done} == {"fast"}
    await queue.close()


async def test_a_key_that_fails_comes_again_and_does_not_stop_others() -> None:
    tries: dict[Key, int] = {}

    async def work(key: Key) -> None:
        tries[key] = tries.get(key, 0) + 1
        if key[1] == "bad" and tries[key] < 3:
            raise ValueError("broken")

    queue = KeyQueue(work, workers=1)
    queue.add(("pool", "bad"))
    queue.add(("pool", "good"))
    async with asyncio.timeout(10):
        while tries.get(("pool", "bad"), 0) < 3:  # noqa: ASYNC110  # the dict has no event
            await asyncio.sleep(0.01)
    assert tries["pool", "good"] == 1
    await queue.close()


async def test_events_do_not_run_a_key_that_fails_without_its_pause() -> None:
    tries_s: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(key: Key) -> None:
        tries_s.append(loop.time())
        queue.add(key)  # as its own write would
        if len(tries_s) < 3:
            raise ValueError("broken")

    queue = KeyQueue(work, workers=1)
    async with asyncio.timeout(10):
        while len(tries_s) < 3:
            queue.add(("pool", "a"))
            await asyncio.sleep(0)
    gaps_s = [after - before for before, after in itertools.pairwise(tries_s[:3])]
    assert all(gap_s >= 0.8 * BACKOFF_FIRST_S * (1 - 1e-6) for gap_s in gaps_s)
    await queue.close()


async def test_a_key_that_adds_itself_without_a_wait_leaves_others_their_turn() -> None:
    done: list[Key] = []

    async def work(key: Key) -> None:
        done.append(key)
        if len(done) < 1000:
            queue.add(("pool", "a"))
        else:
            enough.set()

    queue, enough = KeyQueue(work, workers=1), asyncio.Event()
    queue.add(("pool", "a"))
    queue.add(("pool", "b"))
    async with asyncio.timeout(10):
        await enough.wait()
    assert done.index(("pool", "b")) < 10
    await queue.close()


async def test_a_key_that_works_again_waits_for_no_pause() -> None:
    tries: list[Key] = []

    async def work(key: Key) -> None:
        tries.append(key)
        if len(tries) == 1:
            raise ValueError("broken")

    queue = KeyQueue(work, workers=1)
    queue.add(("pool", "a"))
    async with asyncio.timeout(10):
        while len(tries) < 2:  # noqa: ASYNC110  # the list has no event
            await asyncio.sleep(0.01)
    await settled(queue)
    queue.add(("pool", "a"))
    await settled(queue)
    assert len(tries) == 3
    await queue.close()


def test_pauses_after_failures_grow_and_are_bounded() -> None:
    pauses = [pause_after_s(n) for n in range(1, 40)]
    assert pauses == sorted(pauses)
    assert pauses[1] == 2 * pauses[0]
    assert pauses[-1] == BACKOFF_MAX_S


async def test_a_key_that_asks_to_run_again_does() -> None:
    runs = asyncio.Queue[int]()

    async def work(key: Key) -> float | None:
        runs.put_nowait(1)
        return 0.01 if runs.qsize() < 3 else None

    queue = KeyQueue(work, workers=1)
    queue.add(("pool", "a"))
    async with asyncio.timeout(5):
        while runs.qsize() < 3:  # noqa: ASYNC110  # the test counts runs
            await asyncio.sleep(0.01)
    await queue.close()
