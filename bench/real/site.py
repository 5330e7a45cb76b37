"""The control plane of the benchmark, and our processes on it: started, frozen, killed, and gone at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.real.bulk import Bulk
from ingle_extender.scheduler_config import scheduler_config
from ingle_extender.settings import Settings as ExtenderSettings
from ingle_kit.kube import Kube
from ingle_lab.controlplane import ControlPlane, Settings, processes, state
from ingle_lab.controlplane.preflight import port_is_free
from ingle_lab.controlplane.settings import ADDRESS, pick_free_ports
from ingle_lab.controlplane.testing import running_control_plane

ROOT = Path(__file__).parents[2]
EXTENDER = "ingle_extender.main"
UNCLAIMED = "bench.real.unclaimed"
PATIENT = Settings(ports="auto", node_monitor_grace_s=86_400.0)  # nobody renews the leases of these nodes
DEFAULT_SCHEDULER = "default-scheduler"
SCHEDULER = "kube-scheduler"
SILENT_S = 5 * 86_400.0


@dataclass
class Process:
    """One process; it ends with this one in any case."""

    command: list[str]
    env: dict[str, str]
    log: Path
    id: processes.ProcessId | None = None

    def start(self) -> None:
        words = ["/usr/bin/env", *(f"{name}={value}" for name, value in self.env.items()), *self.command]
        self.id = processes.identify(processes.spawn(words, self.log, detached=False).pid)

    def signal(self, number: signal.Signals) -> None:
        if self.id is not None:
            processes.send(self.id, number)

    def end(self, grace_s: float = 5.0) -> None:
        """SIGTERM, then SIGKILL; `grace_s` 0 is kill -9. Returns when it is gone."""
        if self.id is not None:
            self.signal(signal.SIGCONT if grace_s else signal.SIGKILL)
            processes.stop(self.id, grace_s=grace_s)
            self.id = None


class Site:
    """A control plane with the GPUNode kind; one extender and one kube-scheduler of ours at a time."""

    def __init__(self, plane: ControlPlane, kube: Kube) -> None:
        self.plane, self.kube, self.bulk = plane, kube, Bulk(kube)
        self._extender: Process | None = None
        self._scheduler: Process | None = None
        self._port = _free_port()

    @property
    def url(self) -> str:
        """Where the extender listens."""
        return f"http://{ADDRESS}:{self._port}"

    @property
    def extender(self) -> Process:
        assert self._extender is not None, "start_extender first"
        return self._extender

    @property
    def pids(self) -> dict[str, int]:
        """By name, of the control plane and of our processes that were started."""
        known = state.read(self.plane.lab)
        found = {} if known is None else {name: one.pid for name, one in known.processes.items()}
        ours = {SCHEDULER: self._scheduler, "extender": self._extender}
        return found | {
            name: one.id.pid for name, one in ours.items() if one is not None and one.id is not None
        }

    async def start_extender(self, module: str = EXTENDER) -> None:
        """Starts it in place of an earlier one and returns when it has read the cluster."""
        await self.stop_extender()
        env = {
            "INGLE_KUBECONFIG": str(self.plane.kubeconfig),
            "INGLE_LISTEN": ADDRESS,
            "INGLE_EXTENDER_PORT": str(self._port),
            "INGLE_SILENT_S": str(SILENT_S),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
        }
        log = self.plane.lab / "logs" / "extender.log"
        self._extender = Process([sys.executable, "-m", module], env, log)
        self._extender.start()
        await self.healthy()

    async def healthy(self, timeout_s: float = 60.0) -> None:
        """Returns when the extender answers that it has read the cluster."""
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as session:
            while True:
                if await _answers(session, self.url + "/healthz"):
                    return
                await asyncio.sleep(0.05)

    async def stop_extender(self) -> None:
        if self._extender is not None:
            await asyncio.to_thread(self._extender.end)
            self._extender = None

    async def start_scheduler(
        self,
        *,
        extender: bool = True,
        url: str | None = None,
        default: bool = False,
        ignored: Sequence[str] = (),
    ) -> None:
        """kube-scheduler with our configuration; `extender` False takes that part out, `url` points it elsewhere.

        `default`: the same process also serves pods of `default-scheduler`, as a cluster's own scheduler would.
        `ignored`: extended resources that it takes to be somebody else's, as it does for those of our extender.
        """
        await self.stop_scheduler()
        config = _configuration(self.plane, self._port)
        if default:
            config["profiles"].append({"schedulerName": DEFAULT_SCHEDULER, "percentageOfNodesToScore": 0})
        if ignored:
            fit = {"name": "NodeResourcesFit", "args": {"ignoredResources": list(ignored)}}
            config["profiles"][0]["pluginConfig"] = [fit]
        if not extender:
            config["extenders"] = []
        elif url is not None:
            config["extenders"][0]["urlPrefix"] = url
        path = self.plane.lab / "scheduler.yaml"
        path.write_text(yaml.safe_dump(config))
        binary = str(self.plane.kubectl.parent / SCHEDULER)
        words = [binary, f"--config={path}", "--secure-port=0", "--v=1"]
        self._scheduler = Process(words, {}, self.plane.lab / "logs" / "scheduler.log")
        self._scheduler.start()

    async def stop_scheduler(self) -> None:
        if self._scheduler is not None:
            await asyncio.to_thread(self._scheduler.end)
            self._scheduler = None

    async def reset(self) -> None:
        """No scheduler, no extender, no pod, no claim."""
        await self.stop_scheduler()
        await self.stop_extender()
        await self.bulk.clear_pods()


def _configuration(plane: ControlPlane, port: int) -> dict[str, Any]:
    """What we ship, but for the limit on its own requests: that must not hold back any of those compared."""
    config = scheduler_config(
        ExtenderSettings(
            listen=ADDRESS,
            extender_port=port,
            scheduler_kubeconfig=str(plane.lab / "pki" / "scheduler.kubeconfig"),
            scheduler_leader_elect=False,
        )
    )
    config["clientConnection"] |= {"qps": 5000, "burst": 10_000}
    return config


def _free_port() -> int:
    while True:
        port = pick_free_ports().scheduler
        if port_is_free(ADDRESS, port):
            return port


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    """A site without nodes, in a folder that is removed at the end."""
    crds = [path.read_text() for path in sorted((ROOT / "crds").glob("*.yaml"))]
    with running_control_plane(PATIENT) as plane:
        async with Kube.connect(user_agent="bench", kubeconfig=str(plane.kubeconfig), timeout_s=60.0) as kube:
            site = Site(plane, kube)
            await site.bulk.install_kinds(yaml.safe_load(text) for text in crds)
            try:
                yield site
            finally:
                await site.stop_scheduler()
                await site.stop_extender()
