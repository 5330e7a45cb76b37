"""The router's process: everything is wired here, once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

import aiohttp
import grpc
from aiohttp import web

from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_kit.watch import Reflector
from ingle_router.cluster import Cluster
from ingle_router.demand import DemandStream
from ingle_router.gauge import Gauges
from ingle_router.health import health_handler
from ingle_router.identity import Identity, Reviewer
from ingle_router.metrics import Metrics
from ingle_router.permissions import compile_rule
from ingle_router.picker import Picker
from ingle_router.rules import EnginePod, PoolSpec, engine_of, policy_of, pool_of
from ingle_router.settings import Settings
from ingle_router.state import Router
from ingle_router.waiting_room import WaitingRoom

log = logging.getLogger(__name__)

USER_AGENT: Final = "ingle-router"
_FRAMING_BYTES: Final = 1024 * 1024
_TELL_S: Final = 2.0
_BACKLOG: Final = 4096


class Watches(Protocol):
    """The three caches that feed a cluster."""

    def synced(self) -> bool: ...

    def ages_s(self) -> dict[str, Callable[[], float]]: ...

    async def run(self) -> None: ...


class KubeWatches:
    """Engine pods, pools and policies, by watch."""

    def __init__(self, kube: Kube, cluster: Cluster, namespace: str | None) -> None:
        unix_s = time.time() - time.monotonic()  # once, or equal objects would not be equal
        self._pools: Reflector[PoolSpec] = Reflector(
            kube,
            names.INFERENCE_POOL,
            decode=lambda obj: pool_of(obj, unix_s),
            namespace=namespace,
            on_change=cluster.on_pool,
        )
        self._policies = Reflector(
            kube,
            names.ROUTING_POLICY,
            decode=lambda obj: policy_of(obj, compile_rule),
            namespace=namespace,
            on_change=cluster.on_policy,
        )
        self._pods: Reflector[EnginePod] = Reflector(
            kube,
            names.POD,
            decode=engine_of,
            namespace=namespace,
            label_selector=names.LABEL_POOL,
            on_change=cluster.on_engine,
        )

    def synced(self) -> bool:
        return self._pools.synced.is_set() and self._policies.synced.is_set() and self._pods.synced.is_set()

    def ages_s(self) -> dict[str, Callable[[], float]]:
        return {
            "InferencePool": self._pools.age_s,
            "RoutingPolicy": self._policies.age_s,
            "Pod": self._pods.age_s,
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for reflector in (self._pools, self._policies, self._pods):
                group.create_task(reflector.run())


class Running:
    """A router whose ports are open."""

    def __init__(self, router: Router, picker: Picker, work: tuple[asyncio.Task[None], ...]) -> None:
        self.router, self.picker, self._work = router, picker, work

    async def until(self, stopping: asyncio.Event) -> None:
        """Waits for the signal to stop. Raises what one of our own tasks failed with: without it we are blind."""
        asked = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((asked, *self._work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        for task in self._work:
            if task.done():
                task.result()

    async def drain(self) -> None:
        """Readiness goes, open requests may end, at most `drain_s`; shortly before, whoever still waits is told."""
        self.router.draining = True
        drain_s = self.router.settings.drain_s
        tell_s = min(_TELL_S, drain_s / 5)
        if await self._idle(drain_s - tell_s):
            return
        self.router.send_away()
        if not await self._idle(tell_s):
            log.warning("requests were still open after %.0f s", drain_s)

    async def _idle(self, timeout_s: float) -> bool:
        """Whether all requests ended in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.picker.idle.wait()
        return self.picker.idle.is_set()


@asynccontextmanager
async def running(
    settings: Settings, cluster: Cluster, watches: Watches, reviewer: Reviewer
) -> AsyncIterator[Running]:
    """Opens every port, reads the cluster, and closes all at the end."""
    metrics = Metrics()
    identity = Identity(reviewer, settings, time.monotonic, metrics)
    router = Router(settings, cluster, identity, metrics, watches.synced)
    metrics.observe(cluster, watches.ages_s())
    picker = Picker(router)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session(settings))
        await _http(stack, settings.listen, settings.port_http, DemandStream(router).app())
        await _http(stack, settings.listen, settings.port_waiting_room, WaitingRoom(router, session).app())
        ready = _readiness(router)
        await _grpc(stack, settings, settings.port_picker_health, health_handler(ready))
        await _grpc(stack, settings, settings.port_picker, picker.handler(), health_handler(ready))
        gauges = Gauges(cluster, settings)
        work = (asyncio.create_task(watches.run()), asyncio.create_task(gauges.run()))
        for task in work:
            stack.push_async_callback(_stop, task)
        yield Running(router, picker, work)


def _readiness(router: Router) -> Callable[[], bool]:
    return lambda: router.ready() and not router.draining


def _session(settings: Settings) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=settings.connect_s, sock_read=settings.stream_idle_s
    )
    return aiohttp.ClientSession(
        timeout=timeout, auto_decompress=False, connector=aiohttp.TCPConnector(limit=settings.waiting_max)
    )


async def _http(stack: AsyncExitStack, address: str, port: int, app: web.Application) -> None:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, address, port, backlog=_BACKLOG).start()


async def _grpc(
    stack: AsyncExitStack, settings: Settings, port: int, *handlers: grpc.GenericRpcHandler
) -> None:
    bytes_max = settings.body_bytes_max + _FRAMING_BYTES
    options = (
        ("grpc.max_receive_message_length", bytes_max),
        ("grpc.max_send_message_length", bytes_max),
        ("grpc.so_reuseport", 0),
    )
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(handlers)
    server.add_insecure_port(f"{settings.listen}:{port}")
    await server.start()
    stack.push_async_callback(server.stop, 0.5)


async def _stop(task: asyncio.Task[None]) -> None:
    """Ends a task of ours; what it failed with before is raised, not lost."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        log.debug("stopped")


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    cluster = Cluster(time.monotonic)
    async with Kube.connect(user_agent=USER_AGENT, kubeconfig=settings.kubeconfig) as kube:
        watches = KubeWatches(kube, cluster, settings.namespace or None)
        async with running(settings, cluster, watches, kube) as router:
            log.info("listening on %s", settings.listen)
            await router.until(stopping)
            log.info("draining for at most %.0f s", settings.drain_s)
            await router.drain()
