"""Wiring of the agent: one thread for the GPUs, one event loop for the API server and readers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI

from ingle_agent.app import make_app
from ingle_agent.device import Device
from ingle_agent.enforce import Enforcer
from ingle_agent.hub import Hub
from ingle_agent.ledger import Ledger
from ingle_agent.loop import Loop, Snapshot
from ingle_agent.measure import Sender
from ingle_agent.metrics import AgentCollector, registry_of
from ingle_agent.podresources import HolderCheck
from ingle_agent.pods import PodFinder
from ingle_agent.report import Reporter
from ingle_agent.setters import Limits, Setter
from ingle_agent.settings import AgentSettings
from ingle_agent.warm import WarmCheck
from ingle_agent.zonecheck import ZoneCheck
from ingle_kit.kube import Kube

STOP_S = 3.0
LOOK_LIMIT_S = 2.0
# Small, so that a reader that hangs is noticed after some tens of messages and not after thousands.
SEND_BUFFER_BYTES = 32 * 1024

log = logging.getLogger(__name__)


class Checks(NamedTuple):
    """What looks at the node now and then, beside the GPUs."""

    zones: ZoneCheck
    warm: WarmCheck
    holders: HolderCheck


class _Server(uvicorn.Server):
    """Signals are ours: the agent stops as a whole."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Gpus(NamedTuple):
    """`device` is open. `setter` and `journal` may be another process's."""

    device: Device
    setter: Setter
    journal: Limits


async def run(settings: AgentSettings, gpus: Gpus, boot_id: str, stop: asyncio.Event) -> None:
    """Until `stop`; limits stay as they are. Raises OSError where the address is taken."""
    hub = Hub(
        Sender(settings.node_name, boot_id),
        memory_mib=settings.stream_memory_mib,
        beat_s=settings.stream_seconds,
        deadline_s=settings.reading_deadline_seconds,
    )
    async with Kube.connect(user_agent="ingle-agent", kubeconfig=settings.kubeconfig or None) as kube:
        reporter, loop, checks = _parts(settings, gpus, boot_id, hub, kube)
        collector = AgentCollector(
            settings.node_name, hub, reporter.reflector.age_s, status_writes=lambda: reporter.writes
        )
        app = make_app(
            hub, registry_of(collector), deadline_s=settings.reading_deadline_seconds, closing=stop.is_set
        )
        # before the first report, which would else take back what was told before a restart
        for check in (checks.warm, checks.holders):
            await check.look_once(LOOK_LIMIT_S)
        loop.start()
        work = [reporter.reflector.run(), reporter.run(), *(check.run() for check in checks)]
        await _serve(settings, app, work, stop)
        await asyncio.to_thread(loop.stop, STOP_S)


def _parts(
    settings: AgentSettings, gpus: Gpus, boot_id: str, hub: Hub, kube: Kube
) -> tuple[Reporter, Loop, Checks]:
    events = asyncio.get_running_loop()

    def seen(snapshot: Snapshot) -> None:
        hub.publish(snapshot)
        reporter.look()

    def publish(snapshot: Snapshot) -> None:
        with suppress(RuntimeError):  # the event loop has ended; nobody is left to tell
            events.call_soon_threadsafe(seen, snapshot)

    def obey(ledger: Ledger) -> None:
        loop.ledger = ledger
        loop.wake()

    loop = Loop(
        gpus.device,
        Enforcer(gpus.setter, gpus.journal, settings.retry_seconds),
        PodFinder(settings.proc_root),
        sample_s=settings.sample_seconds,
        silent=lambda: hub.silent_s() > settings.silent_seconds,
        publish=publish,
    )
    reporter = Reporter(
        kube,
        hub,
        node=settings.node_name,
        boot_id=boot_id,
        numa_root=settings.numa_root,
        heartbeat_s=settings.heartbeat_seconds,
        foreign_mib=settings.foreign_mib,
        deadline_s=settings.reading_deadline_seconds,
        on_ledger=obey,
        wrong_zone=lambda: zones.wrong,
        warm=lambda: (warm.items, warm.disk),
        holding=lambda: holders.holding,
    )
    zones = ZoneCheck(
        settings.proc_root,
        pause_s=settings.zone_seconds,
        snapshot=lambda: hub.snapshot,
        on_change=reporter.look,
    )
    warm = WarmCheck(
        settings.cache_root,
        pause_s=settings.cache_seconds,
        quiet_s=settings.cache_quiet_seconds,
        on_change=reporter.look,
    )
    holders = HolderCheck(
        settings.pod_resources_socket,
        node=settings.node_name,
        namespace=settings.namespace,
        pause_s=settings.pod_resources_seconds,
        stale_s=settings.pod_resources_stale_seconds,
        on_change=reporter.look,
    )
    return reporter, loop, Checks(zones, warm, holders)


async def _serve(
    settings: AgentSettings, app: FastAPI, work: list[Coroutine[None, None, None]], stop: asyncio.Event
) -> None:
    """Serves and works until `stop`, or until one of them ends by a fault, which is raised."""
    with _listen(settings.address, settings.agent_port) as listener:
        server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
            )
        )
        log.info("node %s: listening on %s:%d", settings.node_name, *listener.getsockname()[:2])
        tasks = [asyncio.create_task(part) for part in work]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            stop.set()
            server.should_exit = True
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, serving, stopping, return_exceptions=True)


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {address}:{port}: {error.strerror}") from error
    return listener
