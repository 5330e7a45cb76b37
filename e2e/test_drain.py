"""A node is taken out of service under traffic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ingle_kit.names import NODE
from ingle_lab.demo.scene import WARM_POOLS, Scene

from .pools import answering, fault

POOL = "llama-8b"
BEGINS = ("Starting", "Waking")


def holders(scene: Scene, node: str) -> dict[str, str]:
    """State by pod UID of what the node's ledger has."""
    return {p["uid"]: p["state"] for p in scene.gpu_nodes.store[("", node)]["spec"]["pods"]}


@contextlib.asynccontextmanager
async def cordoned(scene: Scene, node: str) -> AsyncIterator[set[str]]:
    """No new pods for the node, for a while; gives the UIDs that began to start or to wake there meanwhile."""
    begun: set[str] = set()

    async def look() -> None:
        while True:
            begun.update(uid for uid, state in holders(scene, node).items() if state in BEGINS)
            await asyncio.sleep(0.01)

    await scene.stack.api.merge_patch(NODE, node, {"spec": {"unschedulable": True}})
    watch = asyncio.create_task(look())
    try:
        yield begun
        assert not watch.done(), watch
    finally:
        watch.cancel()
        await scene.stack.api.merge_patch(NODE, node, {"spec": {"unschedulable": None}})


@pytest.mark.timeout(120)
async def test_a_cordoned_node_takes_no_claim_and_no_wake_its_sleepers_move_and_every_request_is_answered(
    scene: Scene,
) -> None:
    team = scene.clients["team"]
    (awake,) = scene.engines(POOL)
    node, uid = awake["spec"]["nodeName"], awake["metadata"]["uid"]
    await fault(scene, awake, kind="slow", factor=20.0)
    long = asyncio.create_task(team.ask(POOL, tokens=100))
    await scene.until("it to work on the request", lambda: answering(scene, awake))
    await scene.until("it to be awake in the ledger", lambda: holders(scene, node)[uid] == "Awake", 20)
    async with cordoned(scene, node) as begun:
        others = await asyncio.gather(*(team.ask(pool) for pool in WARM_POOLS if pool != POOL))
        assert [answer for answer in others if not answer.good] == []
        answer = await long
        assert answer.good, answer
        await scene.until("it to sleep", lambda: holders(scene, node).get(uid) == "Asleep", 30)
        answer = await team.ask(POOL)
        assert answer.good, answer  # by a new engine elsewhere: this one is not woken
        await scene.until("every engine to have left", lambda: not holders(scene, node), 60)
        await scene.until("each pool to have one elsewhere", lambda: all(map(scene.engines, WARM_POOLS)))
        assert begun == set()
