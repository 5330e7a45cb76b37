"""A real API server and a real kube-scheduler beside the extender as a process; nodes are objects only."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_lab.controlplane import ControlPlane, processes

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1"
Check = Callable[[], Awaitable[Any]]


async def until(check: Check, what: str, timeout_s: float = 20.0) -> Any:
    """Waits for a state: calls `check` until it gives something true."""
    try:
        async with asyncio.timeout(timeout_s):
            found = await check()
            while not found:
                await asyncio.sleep(0.03)
                found = await check()
            return found
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@dataclass
class Process:
    """A process that a test may kill and start again."""

    command: list[str]
    env: dict[str, str]
    log: Path
    id: processes.ProcessId | None = None

    def start(self) -> None:
        words = ["/usr/bin/env", *(f"{name}={value}" for name, value in self.env.items()), *self.command]
        self.id = processes.identify(processes.spawn(words, self.log, detached=False).pid)

    def kill(self) -> None:
        """kill -9."""
        if self.id is not None:
            processes.stop(self.id, grace_s=0.0)

    def stop(self) -> None:
        if self.id is not None:
            processes.stop(self.id, grace_s=5.0)


class Cluster:
    """Makes nodes and pods, asks for them, and sees to it that nothing is left."""

    until = staticmethod(until)

    def __init__(self, kube: Kube, url: str, extender: Process, scheduler: Process) -> None:
        self.kube, self.url, self.extender, self.scheduler = kube, url, extender, scheduler

    async def post(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """What kube-scheduler would send."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/{verb}", json=body) as answer,
        ):
            found: dict[str, Any] = await answer.json(content_type=None)
            return found

    async def filter(self, pod: dict[str, Any], *nodes: str) -> dict[str, Any]:
        return await self.post("filter", {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)})

    async def bind(self, pod: dict[str, Any], node: str) -> str:
        """The error text."""
        metadata = pod["metadata"]
        who = {"PodName": metadata["name"], "PodNamespace": metadata["namespace"], "PodUID": metadata["uid"]}
        return str((await self.post("bind", {**who, "Node": node}))["Error"])

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def healthy(self) -> None:
        async def check() -> bool:
            try:
                return (await self.get("/healthz"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(check, "extender healthy")

    async def node(
        self,
        name: str,
        *,
        gpus: int = 1,
        numa: list[int] | None = None,
        mib: int = 80000,
        watts: int | None = None,
        host_mib: int = 100000,
        silent_s: float = 0.0,
        product: str = "H100",
        foreign_mib: int = 0,
    ) -> None:
        """A ready Node with a GPUNode; all GPUs linked with each other."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        await self.kube.create(names.NODE, node)
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Test",
            "message": "",
            "lastHeartbeatTime": _stamp(),
        }
        room = {"cpu": "64", "memory": "512Gi", "pods": "110"}
        status = {
            "conditions": [ready | {"lastTransitionTime": _stamp()}],
            "capacity": room,
            "allocatable": room,
        }
        await self.kube.merge_patch(names.NODE, name, {"status": status}, subresource="status")
        zones = numa or [0] * gpus
        uuids = [f"GPU-{name}-{i}" for i in range(gpus)]
        spec: dict[str, Any] = {
            "revision": 1,
            "gpus": [
                {"uuid": u, "allocatableMiB": mib - foreign_mib, "floorWatts": 100, "claims": []}
                for u in uuids
            ],
            "zones": [{"zone": z, "allocatableMiB": host_mib, "claims": []} for z in sorted(set(zones))],
            "pods": [],
        }
        if watts is not None:
            spec["wattsAllotted"] = watts
        head = {"apiVersion": names.GPU_NODE.api_version, "kind": "GPUNode", "metadata": {"name": name}}
        await self.kube.create(names.GPU_NODE, {**head, "spec": spec})
        memory = {"total": mib, "reserved": 0, "free": mib - foreign_mib, "foreign": foreign_mib}
        seen = [
            {
                "uuid": u,
                "index": i,
                "product": product,
                "memoryMiB": memory,
                "numa": zones[i],
                "nvlinkPeers": uuids,
            }
            for i, u in enumerate(uuids)
        ]
        told = {"bootID": "b", "observedRevision": 1, "heartbeatAt": _stamp(silent_s), "gpus": seen}
        await self.kube.merge_patch(names.GPU_NODE, name, {"status": told}, subresource="status")

        async def untainted() -> bool:
            return not (await self.kube.get(names.NODE, name))["spec"].get("taints")

        await until(untainted, f"node {name} without taints")

    async def pod(
        self,
        name: str,
        *,
        gates: bool = False,
        scheduler: str = names.SCHEDULER_NAME,
        selector: dict[str, str] | None = None,
        **ask: Any,
    ) -> dict[str, Any]:
        """A pod of the pool `default/p` that asks for 40 000 MiB on one GPU unless told otherwise."""
        wanted = placement(**ask)
        amount = str(wanted["gpus"] * wanted["memoryMiB"]["awake"])
        resources = {
            "requests": {names.RESOURCE_GPU_MEMORY: amount},
            "limits": {names.RESOURCE_GPU_MEMORY: amount},
        }
        spec: dict[str, Any] = {
            "schedulerName": scheduler,
            "containers": [{"name": "engine", "image": "x", "resources": resources}],
        }
        if selector:
            spec["nodeSelector"] = selector
        if gates:
            spec["schedulingGates"] = [{"name": "ingle.dev/room"}]
        metadata = {
            "name": name,
            "namespace": "default",
            "labels": {names.LABEL_POOL: "p"},
            "annotations": {names.ANNOTATION_PLACEMENT: _json(wanted)},
        }
        return await self.kube.create(
            names.POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )

    async def ledger(self, node: str) -> dict[str, Any]:
        spec: dict[str, Any] = (await self.kube.get(names.GPU_NODE, node))["spec"]
        return spec

    async def claims(self, node: str) -> dict[str, list[str]]:
        """GPU -> UIDs of the pods that claim it."""
        return {
            gpu["uuid"]: [c["podUID"] for c in gpu["claims"]] for gpu in (await self.ledger(node))["gpus"]
        }

    async def live(self, pod: str) -> dict[str, Any]:
        return await self.kube.get(names.POD, pod, "default")

    async def bound(self, pod: str) -> dict[str, Any]:
        """The pod once it is bound."""

        async def check() -> dict[str, Any] | None:
            found = await self.live(pod)
            return found if found["spec"].get("nodeName") else None

        found: dict[str, Any] = await until(check, f"pod {pod} bound")
        return found

    async def refused(self, pod: str) -> str:
        """Message of the pod's PodScheduled condition once it is False."""

        async def check() -> str | None:
            for condition in (await self.live(pod)).get("status", {}).get("conditions", []):
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    return str(condition["message"])
            return None

        return str(await until(check, f"pod {pod} refused"))

    async def clear(self) -> None:
        """Deletes all pods, pools, GPUNodes and Nodes."""
        for kind in (names.POD, names.INFERENCE_POOL, names.GPU_NODE, names.NODE):
            for obj in (await self.kube.list(kind))[0]:
                metadata = obj["metadata"]
                await self.kube.delete(kind, metadata["name"], metadata.get("namespace"), grace_s=0)


def placement(
    *,
    gpus: int = 1,
    awake: int = 40000,
    host: int = 0,
    watts: int = 300,
    products: tuple[str, ...] = (),
    numa: str = "Preferred",
    nvlink: str = "Preferred",
    strategy: str = "Pack",
    model: str = "",
    **more: str,
) -> dict[str, Any]:
    """The annotation `ingle.dev/placement`."""
    memory = {"awake": awake, "asleep": 1000, "host": host}
    fixed = {"pool": "default/p", "variant": "v", "gpus": gpus, "memoryMiB": memory, "watts": watts}
    return {
        **fixed,
        "model": model,
        "products": products,
        "numa": numa,
        "nvlink": nvlink,
        "strategy": strategy,
        "priority": "Normal",
        **more,
    }


@pytest.fixture(scope="session")
def plane(bare_plane: ControlPlane) -> ControlPlane:
    return bare_plane


@pytest.fixture(scope="session")
def stack(
    plane: ControlPlane, handover: Callable[..., ControlPlane]
) -> Iterator[tuple[str, Process, Process]]:
    """Address of the extender, extender, kube-scheduler; the latter two are stopped when others get the plane."""
    port = _free_port()
    env = {
        "INGLE_KUBECONFIG": str(plane.kubeconfig),
        "INGLE_LISTEN": ADDRESS,
        "INGLE_EXTENDER_PORT": str(port),
        "INGLE_SCHEDULER_KUBECONFIG": str(plane.lab / "pki" / "scheduler.kubeconfig"),
        "INGLE_SCHEDULER_LEADER_ELECT": "false",
        "INGLE_SCHEDULER_BACKOFF_MAX_S": "1",
        "PATH": os.environ["PATH"],
    }
    config = plane.lab / "scheduler.yaml"
    command = [sys.executable, "-m", "ingle_extender.main"]
    printed = subprocess.run(
        [*command, "scheduler-config"], env=env, capture_output=True, text=True, check=True, timeout=30
    )
    config.write_text(printed.stdout)
    extender = Process(command, env, plane.lab / "logs" / "extender.log")
    binary = str(plane.kubectl.parent / "kube-scheduler")
    words = [binary, f"--config={config}", "--secure-port=0", "--v=2"]
    scheduler = Process(words, {}, plane.lab / "logs" / "scheduler.log")

    def leaves() -> None:
        scheduler.stop()
        extender.stop()

    handover(plane, leaves)
    try:
        extender.start()
        scheduler.start()
        yield f"http://{ADDRESS}:{port}", extender, scheduler
    finally:
        leaves()


@pytest.fixture
async def cluster(plane: ControlPlane, stack: tuple[str, Process, Process]) -> AsyncIterator[Cluster]:
    url, extender, scheduler = stack
    async with Kube.connect(user_agent="test", kubeconfig=str(plane.kubeconfig)) as kube:
        cluster = Cluster(kube, url, extender, scheduler)
        try:
            await cluster.healthy()
            yield cluster
        except BaseException:
            print(extender.log.read_text()[-3000:])
            raise
        finally:
            await cluster.clear()


def _stamp(ago_s: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Any) -> str:
    return json.dumps(value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
