"""The operator's process: wiring, then leading until the lease is lost or a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from ingle_kit.credentials import load_access
from ingle_kit.kube import Kube, KubeError
from ingle_kit.logs import setup
from ingle_operator.front import Front
from ingle_operator.keys import Key, KeyQueue
from ingle_operator.leader import Leader, LeaseTimes
from ingle_operator.metrics import OperatorMetrics, application
from ingle_operator.reconcile.budgets import reconcile_budget
from ingle_operator.reconcile.engines import reconcile_engine
from ingle_operator.reconcile.nodes import reconcile_node
from ingle_operator.reconcile.policies import reconcile_policy
from ingle_operator.reconcile.pools import reconcile_pool
from ingle_operator.settings import OperatorSettings
from ingle_operator.world import World

LEASE_NAME = "ingle-operator"

log = logging.getLogger("ingle_operator")

TOPICS: dict[str, Callable[[World, str], Awaitable[float | None]]] = {
    "pool": reconcile_pool,
    "engine": reconcile_engine,
    "node": reconcile_node,
    "budget": reconcile_budget,
    "policy": reconcile_policy,
}


async def run(settings: OperatorSettings) -> int:
    """Exit code: 0 after a signal, 1 when the lease was lost or a part ended by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    async with (
        Kube.connect(user_agent="ingle-operator") as kube,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        leader = _leader(settings, kube)
        world = World(settings, kube, leader, session)
        runner = await _serve(settings, world)
        front = Front(await load_access(None), loop, world.add)
        tasks = [loop.create_task(reflector.run()) for reflector in world.reflectors()]
        tasks.append(loop.create_task(leader.run()))
        front.start()
        try:
            return await _lead(settings, world, front, stop)
        finally:
            await _shut(world, front, tasks)
            await runner.cleanup()


def _leader(settings: OperatorSettings, kube: Kube) -> Leader:
    identity = f"{settings.pod_name}_{settings.pod_uid or os.getpid()}"
    times = LeaseTimes(settings.lease_duration_s, settings.lease_renew_s)
    return Leader(kube, namespace=settings.namespace, name=LEASE_NAME, identity=identity, times=times)


async def _serve(settings: OperatorSettings, world: World) -> web.AppRunner:
    metrics = OperatorMetrics(world)
    world.on_reconcile = lambda topic: metrics.reconciles.labels(topic).inc()
    runner = web.AppRunner(application(world, metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.listen, settings.port).start()
    return runner


async def _lead(settings: OperatorSettings, world: World, front: Front, stop: asyncio.Event) -> int:
    """Waits for the caches and the lease, then works on keys."""
    stopping: asyncio.Task[object] = asyncio.ensure_future(stop.wait())
    ready = asyncio.ensure_future(_ready(world))
    await asyncio.wait({stopping, ready}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        ready.cancel()
        return 0

    async def work(key: Key) -> float | None:
        world.leader.check(0.0)
        world.on_reconcile(key[0])
        return await TOPICS[key[0]](world, key[1])

    world.queue = KeyQueue(work, workers=settings.workers)
    world.add_all()
    resync = asyncio.ensure_future(_resync(world))
    ends = {
        stopping,
        asyncio.ensure_future(world.leader.lost.wait()),
        asyncio.ensure_future(front.ended.wait()),
    }
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    resync.cancel()
    for end in ends:
        end.cancel()
    if not stop.is_set():
        log.error("lease lost" if world.leader.lost.is_set() else "kopf ended")
    return 0 if stop.is_set() else 1


async def _ready(world: World) -> None:
    for reflector in world.reflectors():
        await reflector.synced.wait()
    await world.leader.leading.wait()


async def _resync(world: World) -> None:
    while True:
        await asyncio.sleep(world.settings.resync_s)
        world.add_all()


async def _shut(world: World, front: Front, tasks: list[asyncio.Task[None]]) -> None:
    """Stops working first, then gives the lease up."""
    if world.queue is not None:
        await world.queue.close()
    await world.agents.close()
    await world.routers.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    try:
        await world.leader.release()
    except KubeError as error:
        log.warning("the lease could not be given up: %s", error)
    await front.stop()


def main() -> None:
    settings = OperatorSettings()
    setup(settings.log_level)
    sys.exit(asyncio.run(run(settings)))
