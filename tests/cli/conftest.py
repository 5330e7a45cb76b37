"""A real API server with our CRDs and rights, objects on it, and the command run as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from typer.testing import CliRunner

from ingle_cli.main import app
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.names import Kind
from ingle_lab.controlplane import ControlPlane
from ingle_lab.stack.objects import apply_files

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
EXTENDER_ADDRESS = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.9"
MADE = (names.POD, names.EVENT, names.INFERENCE_POOL, names.ROUTING_POLICY, names.POWER_BUDGET)
CLUSTER_WIDE = (names.GPU_NODE, names.NODE)


def stamp(ago_s: float = 0.0) -> str:
    """RFC 3339, so long ago."""
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    said = {"type": type_, "status": status, "reason": reason, "message": message}
    return said | {"lastTransitionTime": stamp(), "observedGeneration": 1}


def placement(*, awake: int = 40000, gpus: int = 1, watts: int = 400, host: int = 0) -> str:
    """The annotation `ingle.dev/placement`."""
    memory = {"awake": awake, "asleep": 2000, "host": host}
    ask = {"pool": "chat/small", "variant": "bf16", "gpus": gpus, "memoryMiB": memory, "watts": watts}
    return json.dumps(ask)


@dataclass(frozen=True)
class Said:
    """What the command printed, and its exit code."""

    code: int
    out: str
    err: str


class Cluster:
    """Writes objects as the operator and the agents would, and runs `ingle` with a kubeconfig."""

    def __init__(self, plane: ControlPlane, run: Callable[[Coroutine[Any, Any, T]], T]) -> None:
        self.plane, self.run = plane, run
        self.kube = Kube.connect(user_agent="test", kubeconfig=str(plane.kubeconfig))

    def ingle(self, *words: str, kubeconfig: Path | None = None) -> Said:
        """The command within this process, at 100 columns without a terminal."""
        env = {"KUBECONFIG": str(kubeconfig or self.plane.kubeconfig), "COLUMNS": "100"}
        done = CliRunner().invoke(app, words, env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    def pool(self, name: str, namespace: str = "chat", **status: Any) -> Object:
        memory = {"awake": 40000, "asleep": 2000, "host": 0}
        variant = {"name": "bf16", "gpus": 1, "memoryMiB": memory, "watts": {"busy": 400, "idle": 90}}
        spec = {"model": f"example/{name}", "engine": {"kind": "VLLM", "image": "x"}, "variants": [variant]}
        return self.put(names.INFERENCE_POOL, name, {"spec": spec}, status, namespace)

    def node(
        self,
        name: str,
        *,
        mib: int = 80000,
        claims: tuple[tuple[str, int, int], ...] = (),
        watts: int | None = None,
        heard_s: float = 0.0,
        labels: dict[str, str] | None = None,
        **pods: str,
    ) -> None:
        """A ready Node and a GPUNode with one GPU; `claims`: (pod UID, MiB, W); `pods`: state by name of pool."""
        self.put(
            names.NODE,
            name,
            {"metadata": {"name": name, "labels": labels or {}}},
            {
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": stamp()}
                ]
            },
        )
        held = [{"podUID": uid, "memoryMiB": held_mib, "watts": w} for uid, held_mib, w in claims]
        holders = [
            {"uid": uid, "pool": "chat/small", "state": "Awake", "epoch": 1, "at": stamp(3 * 86400)}
            for uid, _, _ in claims
        ]
        gpu = {"uuid": f"GPU-{name}", "allocatableMiB": mib, "floorWatts": 100, "claims": held}
        spec: dict[str, Any] = {"revision": 1, "gpus": [gpu], "zones": [], "pods": holders}
        if watts is not None:
            spec["wattsAllotted"] = watts
        used = sum(held_mib for _, held_mib, _ in claims)
        seen = {
            "uuid": f"GPU-{name}",
            "index": 0,
            "product": "NVIDIA H100 80GB HBM3",
            "numa": 0,
            "memoryMiB": {"total": mib, "reserved": 0, "free": mib - used, "foreign": 0},
        }
        told = {"bootID": "b", "observedRevision": 1, "heartbeatAt": stamp(heard_s), "gpus": [seen]}
        told["conditions"] = [condition("Ready", "True", "Reporting")]
        self.put(names.GPU_NODE, name, {"spec": spec}, told)

    def pod(self, name: str, *, node: str | None = None, **changes: Any) -> Object:
        metadata = {
            "labels": {names.LABEL_POOL: "small"},
            "annotations": {names.ANNOTATION_PLACEMENT: changes.pop("placement", placement())},
        }
        spec = {"schedulerName": names.SCHEDULER_NAME, "containers": [{"name": "engine", "image": "x"}]}
        spec |= ({"nodeName": node} if node else {}) | changes
        return self.put(names.POD, name, {"metadata": metadata, "spec": spec}, None, "chat")

    def put(
        self, kind: Kind, name: str, obj: Object, status: Object | None = None, namespace: str | None = None
    ) -> Object:
        """Creates the object, then its status."""
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata = {"name": name, **obj.get("metadata", {})} | ({"namespace": namespace} if namespace else {})
        made = self.run(self.kube.create(kind, {**head, **obj, "metadata": metadata}, namespace))
        if not status:
            return made
        return self.run(
            self.kube.merge_patch(kind, name, {"status": status}, namespace, subresource="status")
        )

    def clear(self) -> None:
        for kind in (*MADE, *CLUSTER_WIDE, names.LEASE):
            where = names.SYSTEM_NAMESPACE if kind is names.LEASE else None
            for obj in self.run(self.kube.list(kind, where))[0]:
                metadata = obj["metadata"]
                self.run(self.kube.delete(kind, metadata["name"], metadata.get("namespace"), grace_s=0))


async def _install(kube: Kube) -> None:
    manifests = ROOT / "charts/manifests"
    files = [ROOT / "examples/namespace.yaml"]
    files += [manifests / name for name in ("namespace.yaml", "serviceaccounts.yaml", "rbac.yaml")]
    await apply_files(kube, files)


@pytest.fixture(scope="session")
def plane(bare_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> ControlPlane:
    return handover(bare_plane)


@pytest.fixture(scope="session")
def installed(plane: ControlPlane) -> Iterator[Cluster]:
    with asyncio.Runner() as runner:
        cluster = Cluster(plane, runner.run)
        runner.run(_install(cluster.kube))
        yield cluster
        runner.run(cluster.kube.close())


@pytest.fixture
def cluster(installed: Cluster) -> Iterator[Cluster]:
    yield installed
    installed.clear()


@pytest.fixture
def extender(cluster: Cluster) -> Iterator[str]:
    """The real extender, and a pod object that says where it is; its address."""
    env = {"PATH": os.environ["PATH"], "INGLE_KUBECONFIG": str(cluster.plane.kubeconfig)}
    env |= {"INGLE_LISTEN": EXTENDER_ADDRESS}
    log = cluster.plane.lab / "extender.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingle_extender.main"], env=env, stdout=out, stderr=out
        )
    try:
        labels = {names.LABEL_COMPONENT: "scheduler"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "extender", "image": "x"}]}}
        where = {"phase": "Running", "podIP": EXTENDER_ADDRESS, "podIPs": [{"ip": EXTENDER_ADDRESS}]}
        pod["spec"]["nodeName"] = "system-0"
        cluster.put(names.POD, "scheduler-0", pod, where, names.SYSTEM_NAMESPACE)
        url = f"http://{EXTENDER_ADDRESS}:{names.PORT_EXTENDER}"
        cluster.run(healthy(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


async def healthy(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/healthz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.05)
