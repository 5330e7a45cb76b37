"""A real control plane, nodes on it, and pods on them."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingle_kit.kube import Kube, NotFound, Object
from ingle_kit.names import NODE, POD
from ingle_lab.controlplane.plane import ControlPlane
from ingle_lab.node import Config, NodeConfig, NodeProgram

LIMIT_S = 15.0
STAYS = [{"operator": "Exists"}]  # on a slow machine a restart may take longer than the eviction time
IMAGES = {"python:*": [sys.executable, "-u"], "shell": ["/bin/sh", "-c"], "words": []}
_numbers = itertools.count(100)


class Lab:
    """Nodes in this process, and an administrator who watches them."""

    def __init__(self, plane: ControlPlane, config: Config, admin: Kube) -> None:
        self.plane, self.config, self.admin = plane, config, admin
        self.program = NodeProgram(config)

    @property
    def node_names(self) -> list[str]:
        return [node.name for node in self.config.nodes]

    async def pod(self, name: str, container: Object, *, node: int = 0, **spec: Any) -> str:
        """Creates a pod bound to a node and returns its name, made unique."""
        return await self.create(name, {"containers": [{"name": "main"} | container]} | spec, node=node)

    async def create(
        self, name: str, spec: Object, *, node: int = 0, annotations: Object | None = None
    ) -> str:
        name = f"{name}-{next(_numbers)}"
        own = {"nodeName": self.node_names[node], "terminationGracePeriodSeconds": 5, "tolerations": STAYS}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
            "spec": own | spec,
        }
        await self.admin.create(POD, body)
        return name

    async def get(self, name: str) -> Object:
        return await self.admin.get(POD, name, "default")

    async def until(self, name: str, true: Callable[[Object], Any]) -> Object:
        """The pod, once `true` of it."""
        return await until(lambda: self.get(name), true)

    async def until_gone(self, name: str) -> None:
        with pytest.raises(NotFound):
            await until(lambda: self.get(name), lambda _: False)

    async def until_ready(self, name: str) -> Object:
        return await self.until(name, lambda pod: condition(pod, "Ready") == "True")

    def log(self, name: str, container: str = "main") -> str:
        path = Path(self.config.lab_dir) / "logs" / f"default_{name}_{container}.log"
        return path.read_text() if path.exists() else ""

    async def set_condition(self, name: str, kind: str, status: str) -> None:
        entry = {"type": kind, "status": status, "reason": "Test", "message": "set by the test"}
        await self.admin.request(
            "PATCH",
            POD.path("default", name, "status"),
            body={"status": {"conditions": [entry]}},
            content_type="application/strategic-merge-patch+json",
        )


async def until(read: Callable[[], Any], true: Callable[[Any], Any]) -> Any:
    """What `read` gives (and awaits) once `true` of it; fails after LIMIT_S and shows the last."""
    seen: Any = None
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                seen = read()
                if asyncio.iscoroutine(seen):
                    seen = await seen
                if true(seen):
                    return seen
                await asyncio.sleep(0.03)
    except TimeoutError:
        pytest.fail(f"not within {LIMIT_S} s; last seen: {seen}")


def condition(obj: Object, kind: str) -> str | None:
    found = [c["status"] for c in obj["status"].get("conditions", []) if c["type"] == kind]
    return found[0] if found else None


def container_status(pod: Object, name: str = "main") -> Object:
    found = [c for c in pod["status"].get("containerStatuses", []) if c["name"] == name]
    return found[0] if found else {}


def pid_of(pod: Object, name: str = "main") -> int:
    return int(container_status(pod, name)["containerID"].removeprefix("lab://"))


@pytest.fixture(scope="session")
def plane(kubernetes_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> ControlPlane:
    return handover(kubernetes_plane)


@pytest.fixture
def make_config(plane: ControlPlane) -> Callable[..., Config]:
    """A configuration with new nodes on their own addresses; it lives in the control plane's folder."""

    def make(count: int = 1, **node: Any) -> Config:
        nodes = []
        for number in itertools.islice(_numbers, count):
            name = f"lab-{number}"
            kubeconfig = str(plane.node_kubeconfig(name))
            address = f"127.{60 + number % 60}.{number % 200}.1"
            nodes.append(NodeConfig(name=name, address=address, kubeconfig=kubeconfig, **node))
        return Config(nodes=nodes, images=IMAGES, lab_dir=str(plane.lab), lease_duration_s=2)

    return make


@pytest.fixture
async def admin(plane: ControlPlane) -> AsyncIterator[Kube]:
    async with Kube.connect(user_agent="test", kubeconfig=str(plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def start_lab(plane: ControlPlane, admin: Kube) -> AsyncIterator[Callable[[Config], Any]]:
    """Runs nodes in this process; they, their pods and their Node objects are gone after the test."""
    tasks, names = [], []

    async def start(config: Config) -> Lab:
        lab = Lab(plane, config, admin)
        task = asyncio.create_task(lab.program.run())
        tasks.append(task)
        names.extend(lab.node_names)
        await asyncio.sleep(0)
        await asyncio.wait_for(lab.program.ready(), LIMIT_S)
        return lab

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for name in names:
        pods, _ = await admin.list(POD, field_selector=f"spec.nodeName={name}")
        for pod in pods:
            await admin.delete(POD, pod["metadata"]["name"], "default", grace_s=0)
        await admin.delete(NODE, name)


@pytest.fixture
async def lab(start_lab: Callable[[Config], Any], make_config: Callable[..., Config]) -> Lab:
    return await start_lab(make_config())


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()
