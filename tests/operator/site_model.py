"""A small site that plays scheduler, kubelet, engines, agents and router beside a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from operator_engine_model import (  # by conftest
    AWAKE_MIB,
    GPU_MIB,
    NET,
    RESERVED_MIB,
    Engine,
    now,
    routes_of,
)

from ingle_core.ledger import Ledger, PodRef, claim
from ingle_kit import names
from ingle_kit.kube import Kube, NotFound, Object
from ingle_kit.ledger import Written, write
from ingle_kit.objects import timestamp
from ingle_kit.streams import Demand, EndpointDemand, GpuProcess, GpuReading, Measurement, PoolDemand
from ingle_kit.watch import Reflector


async def until(check: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Waits for a state: calls `check` (plain or async) until it gives something true."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                found = check()
                found = await found if asyncio.iscoroutine(found) else found
                if found:
                    return found
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


class Site:
    """Places pods, runs engines, streams measurements and demand. `faults`: pool, or an argument, to NeverReady,
    Crash, No/sleep or No/wake_up."""

    until = staticmethod(until)

    def __init__(self, kube: Kube, scheduler: Kube) -> None:
        self.kube, self.scheduler = kube, scheduler
        self.engines: dict[str, Engine] = {}
        self.gpus: dict[str, list[str]] = {}
        self.limits_w: dict[str, float] = {}
        self.revisions: dict[str, int] = {}
        self.lost: set[str] = set()
        self.faults: dict[str, str] = {}
        self.demand: dict[str, tuple[int, int]] = {}
        self.said: dict[str, dict[str, int]] = {}  # by pool: what routers have read of its engines
        self.pickable = True
        self.places = True
        self.numa_mib = 0  # of each node's one NUMA zone; 0: agents tell of none
        self.closed: set[str] = set()  # nodes that the scheduler leaves out
        self.refusal = ""  # what the scheduler says of a pod it cannot place; it still binds one with a claim
        self.running = 0  # requests in every engine that no router knows of
        self.wakes = asyncio.Event()  # while clear, a wake does not end
        self.wakes.set()
        self._address = 0
        self._changed = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()
        self._placed: dict[str, str] = {}
        self.pods = Reflector(
            kube, names.POD, decode=dict, label_selector=names.LABEL_POOL, on_change=self._pod_changed
        )

    def _next_address(self) -> str:
        self._address += 1
        return f"127.{NET}.{self._address // 250}.{self._address % 250 + 1}"

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def touch(self) -> None:
        """Something that the streams tell has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def ask(self, pool: str = "", waiting: int = 0, **more: int) -> None:
        """So many requests wait at the router."""
        for name, count in ({pool: waiting} if pool else {}).items() | more.items():
            self.demand[name] = (count, 0)
        self.touch()

    def ghost(self, uid: str, gpu: str) -> None:
        """A process that holds memory although no pod of it exists."""
        self.engines[uid] = Engine(uid, "", "", (gpu,), "")

    @staticmethod
    def stamp() -> str:
        return now()

    async def _moment(self, changed: asyncio.Event | None = None, at_most_s: float = 0.1) -> None:
        """Until something has changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await (changed or self._changed).wait()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()

    # -- nodes, agents, router

    async def node(self, name: str, gpus: int = 1, *, agent: bool = True, labels: Any = None) -> None:
        """A ready Node with an agent that streams and tells its GPUs in the GPUNode's status once there is one."""
        metadata = {"name": name, "labels": labels or {}}
        await self.kube.create(names.NODE, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        ready = {"type": "Ready", "status": "True", "reason": "Test", "lastTransitionTime": timestamp(0)}
        await self.kube.merge_patch(
            names.NODE, name, {"status": {"conditions": [ready]}}, subresource="status"
        )
        self.gpus[name] = [f"GPU-{name}-{i}" for i in range(gpus)]
        self.limits_w |= dict.fromkeys(self.gpus[name], 700.0)
        if agent:
            await self._component(f"agent-{name}", "agent", name, partial(self._measurement, name))
            self.spawn(self._tell_status(name))

    async def router(self, node: str) -> None:
        """A router that tells `self.demand`, and every engine as pickable while its gate is open."""
        await self._component("router", "gateway", node, self._demand)

    async def _component(self, name: str, component: str, node: str, message: Callable[[], Any]) -> None:
        address = self._next_address()
        port, path = (
            (names.PORT_AGENT, "/v1/measurements")
            if component == "agent"
            else (names.PORT_ROUTER, "/v1/demand")
        )
        await self._serve(address, port, [web.get(path, partial(self._stream, message))])
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": names.SYSTEM_NAMESPACE,
                "labels": {names.LABEL_COMPONENT: component},
            },
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": False,
                "containers": [{"name": "c", "image": "i"}],
            },
        }
        await self.kube.create(names.POD, pod)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await self.kube.merge_patch(names.POD, name, {"status": status}, names.SYSTEM_NAMESPACE, "status")

    async def _serve(self, address: str, port: int, routes: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        self._runners.append(runner)
        return runner

    async def _stream(self, message: Callable[[], Any], request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                changed = self._changed
                await answer.write(msgspec.json.encode(message()) + b"\n")
                await self._moment(changed, 0.5)
        return answer

    def _measurement(self, node: str) -> Measurement:
        def processes(uuid: str) -> tuple[GpuProcess, ...]:
            here = [e for e in self.engines.values() if uuid in e.gpus]
            return tuple(GpuProcess(n + 1, e.memory_mib, e.uid) for n, e in enumerate(here))

        readings = tuple(
            GpuReading(
                uuid, n, "H100", GPU_MIB, RESERVED_MIB, 0, 60.0, self.limits_w[uuid], self.limits_w[uuid], 200.0,
                700.0, health="Lost" if uuid in self.lost else "Healthy", processes=processes(uuid),
            )
            for n, uuid in enumerate(self.gpus[node])
        )  # fmt: skip
        return Measurement(node, "boot", 1, 0.0, readings, self.revisions.get(node, 0))

    def _demand(self) -> Demand:
        pools = tuple(PoolDemand(name, waiting, running) for name, (waiting, running) in self.demand.items())
        endpoints = tuple(
            EndpointDemand(
                e.uid, self.pickable and self.gate_open(e.uid), e.running, **self.said.get(e.pool, {})
            )
            for e in self.engines.values()
        )
        return Demand("router", 1, 0.0, pools, endpoints)

    def gate_open(self, uid: str) -> bool:
        for pod in self.pods.store.values():
            if pod["metadata"]["uid"] == uid:
                return any(
                    c["type"] == names.GATE_AWAKE and c["status"] == "True"
                    for c in pod.get("status", {}).get("conditions", [])
                )
        return False

    async def _tell_status(self, node: str) -> None:
        """The agent's own part of the GPUNode: GPUs when it appears, and again when one is lost."""
        told: Any = None
        while True:
            gpus = [
                {
                    "uuid": uuid,
                    "index": n,
                    "product": "H100",
                    "memoryMiB": {
                        "total": GPU_MIB,
                        "reserved": RESERVED_MIB,
                        "free": GPU_MIB - RESERVED_MIB,
                        "foreign": 0,
                    },
                    "watts": {"min": 200, "max": 700, "enforced": 700},
                    "health": "Lost" if uuid in self.lost else "Healthy",
                }
                for n, uuid in enumerate(self.gpus[node])
            ]
            with contextlib.suppress(NotFound):
                live = await self.kube.get(names.GPU_NODE, node)
                if (live["metadata"]["uid"], gpus) != told:
                    numa = [{"zone": 0, "memoryMiB": {"total": self.numa_mib, "free": self.numa_mib}}]
                    patch = {
                        "status": {"gpus": gpus, "numa": numa if self.numa_mib else [], "observedRevision": 0}
                    }
                    await self.kube.merge_patch(names.GPU_NODE, node, patch, subresource="status")
                    told = (live["metadata"]["uid"], gpus)
            await asyncio.sleep(0.1)

    # -- scheduler and kubelet

    def _pod_changed(self, key: tuple[str, str], old: Any, new: Any) -> None:
        self.touch()
        if new is not None and new["metadata"]["uid"] not in self._busy:
            self._busy.add(new["metadata"]["uid"])
            self.spawn(self._run_pod(new))

    async def _run_pod(self, pod: Object) -> None:
        namespace, name, uid = (pod["metadata"][k] for k in ("namespace", "name", "uid"))
        key = (namespace, name)
        engine: Engine | None = None

        def gone() -> bool:
            live = self.pods.store.get(key)
            return live is None or live["metadata"]["uid"] != uid or "deletionTimestamp" in live["metadata"]

        with contextlib.suppress(NotFound):
            place = None
            while not gone() and place is None:
                place = await self.place_reserved(pod) if self.places or self.refusal else None
                if place is None and self.places:
                    place = await self.place(pod)
                if place is None and self.refusal:
                    await self._refuse(name)
                await self._moment()
            if place is not None:
                engine = await self._start_engine(pod, *place)
            while not gone():
                await self._moment()
        if engine is not None:
            if engine.runner is not None:
                await engine.runner.cleanup()
            self.engines.pop(uid, None)
            self.touch()
        self._placed.pop(uid, None)
        await self.kube.delete(names.POD, name, namespace, uid=uid, grace_s=0)

    async def _refuse(self, name: str) -> None:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": self.refusal,
        }
        await self.set_status(name, {"conditions": [condition]})

    async def place_reserved(self, pod: Object) -> tuple[str, tuple[str, ...]] | None:
        """Binds a pod for which the operator has claimed already."""
        uid = pod["metadata"]["uid"]
        for node in self.gpus.keys() - self.closed:
            with contextlib.suppress(NotFound):
                ledger = Ledger.from_dict((await self.kube.get(names.GPU_NODE, node))["spec"])
                gpus = ledger.gpus_of(uid)
                if gpus:
                    self._placed[uid] = gpus[0]
                    await self.bind(pod, node, gpus[0])
                    return node, gpus
        return None

    async def place(self, pod: Object) -> tuple[str, tuple[str, ...]] | None:
        """Claims, then binds, as our scheduler does; None while nothing has room."""
        metadata = pod["metadata"]
        ref = PodRef(metadata["uid"], f"{metadata['namespace']}/{metadata['labels'][names.LABEL_POOL]}")
        for node, uuids in self.gpus.items():
            left = set(uuids) - self.lost if node not in self.closed else set()
            while left:
                uuid = min(left, key=self._use)  # anew each time: others choose meanwhile
                left.discard(uuid)
                plan = partial(
                    claim,
                    pod=ref,
                    gpus=[uuid],
                    memory_mib=AWAKE_MIB,
                    watts=300,
                    at=now(),
                    **self._host_of(pod),
                )
                self._placed[ref.uid] = uuid
                result = await write(self.scheduler, node, plan)
                if isinstance(result, Written):
                    await self.bind(pod, node, uuid)
                    return node, (uuid,)
                del self._placed[ref.uid]
        return None

    def _host_of(self, pod: Object) -> dict[str, int]:
        """The host memory that it asks for, where nodes have zones."""
        ask = msgspec.json.decode(pod["metadata"]["annotations"][names.ANNOTATION_PLACEMENT])
        host_mib = ask["memoryMiB"].get("host") or 0
        return {"host_zone": 0, "host_mib": host_mib} if self.numa_mib and host_mib else {}

    def _use(self, uuid: str) -> tuple[int, str]:
        return list(self._placed.values()).count(uuid), uuid

    async def bind(self, pod: Object, node: str, uuid: str) -> None:
        metadata = {k: pod["metadata"][k] for k in ("name", "namespace", "uid")}
        metadata |= {"annotations": {names.ANNOTATION_GPUS: uuid}}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        path = names.POD.path(metadata["namespace"], metadata["name"], "binding")
        await self.scheduler.request("POST", path, body=body)

    async def _start_engine(self, pod: Object, node: str, gpus: tuple[str, ...]) -> Engine:
        metadata = pod["metadata"]
        pool = metadata["labels"][names.LABEL_POOL]
        engine = Engine(metadata["uid"], pool, node, gpus, self._next_address())
        args = pod["spec"]["containers"][0].get("args") or []
        fault = next((self.faults[name] for name in (pool, *args) if name in self.faults), None)
        if fault == "Crash":
            await self.set_status(metadata["name"], {"phase": "Failed", "reason": "Error", "message": "boom"})
            return engine
        self.engines[engine.uid] = engine
        engine.runner = await self._serve(
            engine.address,
            8000,
            routes_of(engine, lambda: self.faults.get(pool), self.wakes, lambda: self.running, self.touch),
        )
        ready = "False" if fault == "NeverReady" else "True"
        condition = {"type": "ContainersReady", "status": ready, "lastTransitionTime": now()}
        where = {"podIP": engine.address, "podIPs": [{"ip": engine.address}]}
        await self.set_status(metadata["name"], {"phase": "Running", "conditions": [condition], **where})
        self.touch()
        return engine

    async def set_status(self, pod: str, status: Object) -> None:
        await self.kube.strategic_patch(names.POD, pod, {"status": status}, "default", "status")
