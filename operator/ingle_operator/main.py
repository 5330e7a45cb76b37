"""The operator's process: wiring, then leading until the lease is lost or a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import aiohttp
from aiohttp import web

from ingle_kit.credentials import load_access
from ingle_kit.kube import Kube, KubeError
from ingle_kit.logs import setup
from ingle_operator.front import Front
from ingle_operator.leader import Leader, LeaseTimes
from ingle_operator.metrics import OperatorMetrics, application
from ingle_operator.settings import OperatorSettings
from ingle_operator.work import queue_of
from ingle_operator.world import World

LEASE_NAME = "ingle-operator"

log = logging.getLogger("ingle_operator")


async def run(settings: OperatorSettings) -> int:
    """Exit code: 0 after a signal, 1 when the lease was lost or a part ended by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    async with (
        Kube.connect(user_agent="ingle-operator-lease") as lease_kube,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        world = World(settings, leader_of(settings, lease_kube), session)
        async with world.kube:
            runner = await _serve(settings, world)
            front = Front(await load_access(None), loop, world.add)
            tasks = [loop.create_task(reflector.run()) for reflector in world.reflectors()]
            tasks.append(loop.create_task(world.leader.run()))
            front.start()
            try:
                return await _lead(world, front, tasks, stop)
            finally:
                await _shut(world, front, tasks)
                await runner.cleanup()


def leader_of(settings: OperatorSettings, kube: Kube) -> Leader:
    """Our identity is the pod's name and UID, so that a restarted container takes its own lease back at once."""
    identity = f"{settings.pod_name}_{settings.pod_uid or os.getpid()}"
    times = LeaseTimes(settings.lease_duration_s, settings.lease_renew_s, settings.write_limit_s)
    return Leader(kube, namespace=settings.namespace, name=LEASE_NAME, identity=identity, times=times)


async def _serve(settings: OperatorSettings, world: World) -> web.AppRunner:
    metrics = OperatorMetrics(world)
    world.on_reconcile = lambda topic: metrics.reconciles.labels(topic).inc()
    runner = web.AppRunner(application(world, metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.listen, settings.port).start()
    return runner


async def _lead(world: World, front: Front, tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> int:
    """Waits for the caches and the lease, then works on keys until a signal comes or a part ends."""
    parts: dict[asyncio.Future[object], str] = {asyncio.ensure_future(front.ended.wait()): "kopf ended"}
    parts |= {asyncio.ensure_future(task): "the lease is lost or a watch ended" for task in tasks}
    stopping: asyncio.Future[object] = asyncio.ensure_future(stop.wait())
    working: asyncio.Future[object] = asyncio.ensure_future(_work(world))
    await asyncio.wait({stopping, working, *parts}, return_when=asyncio.FIRST_COMPLETED)
    working.cancel()
    if stop.is_set():
        return 0
    for part, text in parts.items():
        if part.done():
            log.error("%s", text, exc_info=part.exception())
    return 1


async def _work(world: World) -> None:
    await _ready(world)
    world.queue = queue_of(world)
    while True:
        world.add_all()
        await asyncio.sleep(world.settings.resync_s)


async def _ready(world: World) -> None:
    for reflector in world.reflectors():
        await reflector.synced.wait()
    await world.leader.leading.wait()


async def _shut(world: World, front: Front, tasks: list[asyncio.Task[None]]) -> None:
    """Stops working first, then gives the lease up."""
    if world.queue is not None:
        await world.queue.close()
    await world.agents.close()
    await world.routers.close()
    world.scaling.close()
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
