"""Pools that a test makes for itself and takes away again, and what is said about them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import yaml

from ingle_kit.kube import Object
from ingle_kit.names import ANNOTATION_GPUS, EVENT, LABEL_POOL, POD, Kind
from ingle_lab.demo.scene import NAMESPACE, Scene
from ingle_lab.stack.objects import apply
from ingle_lab.stack.stack import ROOT

ENGINE_PORT = 8000
CONTEXT_MIB = 4000  # weights and residue of the engine profile `quick`, at most
ASLEEP_MIB = 1200


def pool(name: str, namespace: str = NAMESPACE, **changes: Any) -> Object:
    """The example of llama-8b under another name and model, without sleepers, changed at the top of its spec."""
    docs = yaml.safe_load_all((ROOT / "examples" / "pools.yaml").read_text())
    made: Object = next(doc for doc in docs if doc["metadata"]["name"] == "llama-8b")
    made["metadata"] = {"name": name, "namespace": namespace}
    made["spec"] |= {
        "model": f"test/{name}",
        "aliases": [],
        "warm": {"asleep": 0, "idleSeconds": 1},
    } | changes
    return made


def placed(
    name: str, mib: int, gpus: int = 1, *, node: str = "", namespace: str = NAMESPACE, **changes: Any
) -> Object:
    """A pool with one engine that loads fast and takes so much of each GPU; it stays awake until the test ends."""
    memory = {"awake": mib, "asleep": ASLEEP_MIB, "host": 3000, "kvCache": mib - CONTEXT_MIB}
    watts = {"busy": 100 * gpus, "idle": 30 * gpus}  # no more than each GPU is counted with anyway
    spec: dict[str, Any] = {
        "model": f"{name}/quick",
        "variants": [{"name": "only", "gpus": gpus, "memoryMiB": memory, "watts": watts}],
        "replicas": {"min": 0, "max": 1},
        "warm": {"asleep": 1, "idleSeconds": 600},
    }
    spec |= {"placement": {"nodeSelector": {"kubernetes.io/hostname": node}}} if node else {}
    return pool(name, namespace, **(spec | changes))


@contextlib.asynccontextmanager
async def applied(scene: Scene, kind: Kind, obj: Object) -> AsyncIterator[None]:
    """The object, for a while."""
    name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
    await apply(scene.stack.api, obj)
    try:
        yield
    finally:
        await scene.stack.api.delete(kind, name, namespace)


async def in_namespace(scene: Scene, name: str, **labels: str) -> None:
    """Makes the namespace; it stays, empty."""
    metadata = {"name": name, "labels": labels}
    await apply(scene.stack.api, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


async def condition(scene: Scene, kind: Kind, name: str, namespace: str | None, type_: str) -> dict[str, str]:
    obj = await scene.stack.api.get(kind, name, namespace)
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_), {})


async def told(
    scene: Scene,
    kind: Kind,
    name: str,
    type_: str,
    status: str,
    reason: str,
    namespace: str | None = NAMESPACE,
) -> str:
    """Waits for the condition and returns its message."""

    async def seen() -> dict[str, str] | None:
        found = await condition(scene, kind, name, namespace, type_)
        return found if (found.get("status"), found.get("reason")) == (status, reason) else None

    found = await scene.until(f"{name}: {type_}={status} {reason}", seen, 30)
    return str(found["message"])


async def event(scene: Scene, reason: str, pool_name: str, namespace: str = NAMESPACE) -> str:
    """Waits for the event on the pool and returns its message."""

    async def seen() -> str:
        events, _ = await scene.stack.api.list(EVENT, namespace, field_selector=f"reason={reason}")
        mine = [e["message"] for e in events if e["involvedObject"]["name"] == pool_name]
        return str(mine[-1]) if mine else ""

    return str(await scene.until(f"the event {reason} on {pool_name}", seen, 20))


async def engines(scene: Scene, obj: Object) -> list[Object]:
    """Pods of a pool, in whatever namespace."""
    metadata = obj["metadata"]
    selector = f"{LABEL_POOL}={metadata['name']}"
    found, _ = await scene.stack.api.list(POD, metadata["namespace"], label_selector=selector)
    return found


async def bound(scene: Scene, obj: Object) -> Object:
    """The pool's engine, once it has its node and GPUs."""

    async def seen() -> Object | None:
        found = await engines(scene, obj)
        return found[0] if found and found[0]["spec"].get("nodeName") else None

    pod: Object = await scene.until(f"an engine of {obj['metadata']['name']} to be bound", seen, 30)
    return pod


async def serving(scene: Scene, obj: Object) -> Object:
    """The pool's engine, once the ledger says that it is awake and requests would reach it."""
    pod = await bound(scene, obj)
    name, uid = obj["metadata"]["name"], pod["metadata"]["uid"]

    def awake() -> bool:
        key = (obj["metadata"]["namespace"], name)
        counts = ((scene.pools.store.get(key) or {}).get("status") or {}).get("replicas") or {}
        return scene.holder(uid).get("state") == "Awake" and counts.get("awake") == 1

    await scene.until(f"{name} to serve", awake, 40)
    return (await engines(scene, obj))[0]


def gpus_of(pod: Object) -> list[str]:
    return sorted(pod["metadata"]["annotations"][ANNOTATION_GPUS].split(","))


async def fault(scene: Scene, pod: Object, **order: str | float) -> None:
    """Breaks an engine on purpose, or slows it down."""
    url = f"http://{pod['status']['podIP']}:{ENGINE_PORT}/lab/fault"
    async with scene.session.post(url, json=order) as reply:
        assert reply.status == 200, await reply.text()


async def answering(scene: Scene, pod: Object) -> bool:
    """Whether the engine works on a request."""
    async with scene.session.get(f"http://{pod['status']['podIP']}:{ENGINE_PORT}/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return any(float(line.split()[-1]) > 0 for line in lines if line.startswith("vllm:num_requests_running{"))
