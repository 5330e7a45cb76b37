"""The real agent in a process of its own, on the GPU stand-in, against a real API server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingle_kit.kube import Kube
from ingle_kit.names import GPU_NODE
from ingle_lab.controlplane.plane import ControlPlane
from ingle_lab.gpu import build_library, create_state, read_gpus

COUNTER = itertools.count(1)
WAIT_S = 30.0


def tail(log: Path | None) -> str:
    return "" if log is None else log.read_text()[-2000:]


async def wait_until(
    say: Callable[[], Awaitable[Any]] | Callable[[], Any], what: str, log: Path | None = None
) -> Any:
    """Waits until `say` gives something true, and gives it; a failure shows the end of `log`."""
    deadline = time.monotonic() + WAIT_S
    while True:
        got = say()
        if asyncio.iscoroutine(got):
            got = await got
        if got:
            return got
        if time.monotonic() >= deadline:
            pytest.fail(f"never came true: {what}\n{tail(log)}")
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def plane(bare_plane: ControlPlane) -> ControlPlane:
    return bare_plane


class AgentNode:
    """A node with its GPUs, its agent, its GPUNode."""

    def __init__(self, plane: ControlPlane, kube: Kube, folder: Path, profile: str) -> None:
        number = next(COUNTER)
        self.name = f"node-{os.getpid()}-{number}"
        self.kube, self.folder, self.state = kube, folder, folder / "gpus.state"
        self.uuids = create_state(self.state, profile, self.name)
        self.address = f"127.{60 + os.getpid() % 150}.{number}.1"
        self.journal = folder / "limits.json"
        self.env = {
            **os.environ,
            "LD_LIBRARY_PATH": str(build_library().parent),
            "INGLE_LAB_GPU_STATE": str(self.state),
            "INGLE_NODE_NAME": self.name,
            "INGLE_POD_IP": self.address,
            "INGLE_KUBECONFIG": str(plane.kubeconfig),
            "INGLE_JOURNAL": str(self.journal),
            "INGLE_NUMA_ROOT": str(folder / "numa"),
        }
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "setter" / "limits.sock"
        self.setter: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "ingle_agent"]
            self.process = subprocess.Popen(command, env={**self.env, **env}, stdout=log, stderr=log)

    def start_setter(self) -> None:
        """From then on `start` makes a reader, which leaves limits to the setter."""
        self.socket.parent.mkdir(exist_ok=True)
        self.env["INGLE_SETTER_SOCKET"] = str(self.socket)
        names = ("PATH", "LD_LIBRARY_PATH", "INGLE_LAB_GPU_STATE", "INGLE_JOURNAL", "INGLE_SETTER_SOCKET")
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "ingle_agent", "setter"]
            env = {name: self.env[name] for name in names}
            self.setter = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def kill_setter(self) -> None:
        assert self.setter is not None
        self.setter.kill()
        self.setter.wait(10)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def restore(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ingle_agent", "restore"]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30, check=False)

    async def create(self, **spec: Any) -> None:
        """A GPUNode whose ledger has these claims; `claims` is {GPU index: [(pod UID, MiB, W), ...]}."""
        body = {"apiVersion": GPU_NODE.api_version, "kind": "GPUNode", "metadata": {"name": self.name}}
        await self.kube.create(GPU_NODE, {**body, "spec": self.spec(**spec)})

    async def change(self, **spec: Any) -> None:
        await self.kube.merge_patch(GPU_NODE, self.name, {"spec": self.spec(**spec)})

    def spec(
        self,
        revision: int,
        allotted: int | None = None,
        safe: int | None = None,
        claims: dict[int, list[tuple[str, int, int]]] | None = None,
    ) -> dict[str, Any]:
        gpus = [
            {
                "uuid": uuid,
                "allocatableMiB": 80000,
                "floorWatts": 100,
                "claims": [
                    {"podUID": uid, "memoryMiB": mib, "watts": watts}
                    for uid, mib, watts in (claims or {}).get(at, ())
                ],
            }
            for at, uuid in enumerate(self.uuids)
        ]
        watts = {"wattsAllotted": allotted, "wattsSafe": safe}
        return {"revision": revision, "gpus": gpus, "zones": [], "pods": [], **watts}

    async def status(self) -> dict[str, Any]:
        return (await self.kube.get(GPU_NODE, self.name)).get("status") or {}

    async def observed(self, revision: int) -> dict[str, Any]:
        async def seen() -> dict[str, Any] | None:
            status = await self.status()
            return status if status.get("observedRevision") == revision else None

        return await wait_until(
            seen, f"revision {revision} observed; agent said: {self.log.read_text()[-2000:]}"
        )

    def limits(self) -> list[int]:
        return [round(gpu.limit_w) for gpu in read_gpus(self.state)]

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.address}:9470/v1/measurements") as got,
        ):
            async for line in got.content:
                yield json.loads(line)

    async def text(self, path: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.address}:9470{path}") as got,
        ):
            return await got.text()

    async def answers(self) -> None:
        async def healthy() -> bool:
            try:
                return await self.text("/healthz") == "ok\n"
            except aiohttp.ClientError:
                return False

        await wait_until(healthy, "/healthz is ok", self.log)


@pytest.fixture
async def make_node(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Callable[..., AgentNode]]:
    nodes: list[AgentNode] = []
    async with Kube.connect(user_agent="tests", kubeconfig=str(plane.kubeconfig)) as kube:

        def make(profile: str = "h100x8") -> AgentNode:
            nodes.append(AgentNode(plane, kube, tmp_path, profile))
            return nodes[-1]

        yield make
        for node in nodes:
            if node.setter is not None and node.setter.poll() is None:
                node.kill_setter()
            if node.process is not None and node.process.poll() is None:
                node.end(signal.SIGKILL)


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    return wait_until
