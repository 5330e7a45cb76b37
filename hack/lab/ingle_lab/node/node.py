"""One node: its registration, its Lease and the pods bound to it."""

from __future__ import annotations

import asyncio
import logging
import platform
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ingle_kit.kube import Conflict, Kube, KubeError, NotFound, Object
from ingle_kit.names import LEASE, NODE, POD
from ingle_kit.watch import Key, Reflector
from ingle_lab.node.addresses import AddressPool
from ingle_lab.node.admission import Refusal, out_of, requests_of, unsupported
from ingle_lab.node.clock import now_micro_text, now_text
from ingle_lab.node.config import Config, NodeConfig
from ingle_lab.node.context import ApiServer, NodeContext
from ingle_lab.node.node_status import labels_patch, node_object, node_status_patch
from ingle_lab.node.pod import STRATEGIC_PATCH, PodWorker
from ingle_lab.node.podresources import PLACE, serving
from ingle_lab.node.process import kill_strays
from ingle_lab.node.quantity import parse_quantity

LEASE_NAMESPACE = "kube-node-lease"
RETRY_MIN_S = 0.1
RETRY_MAX_S = 5.0
SHUTDOWN_GRACE_S = 2.0

log = logging.getLogger(__name__)


class LabNode:
    """Plays the kubelet of one node. Make it inside a running loop; `run` until cancelled."""

    def __init__(self, config: NodeConfig, program: Config, api: ApiServer) -> None:
        kube = Kube.connect(user_agent=f"ingle-lab-node/{config.name}", kubeconfig=config.kubeconfig)
        self.context = NodeContext(config, program, kube, api, AddressPool(config.address))
        self.registered = asyncio.Event()
        self._allocatable = {name: parse_quantity(text) for name, text in config.resources().items()}
        self._boot_id = str(uuid.uuid4())
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._settle_wanted = asyncio.Event()
        self._renew_wanted = asyncio.Event()
        self._lease: Object | None = None
        mine: dict[str, Any] = {"decode": lambda obj: obj}
        self._pods: Reflector[Object] = Reflector(
            kube, POD, field_selector=f"spec.nodeName={config.name}", on_change=self._on_pod, **mine
        )
        self._nodes: Reflector[Object] = Reflector(
            kube, NODE, field_selector=f"metadata.name={config.name}", on_change=self._on_node, **mine
        )

    @property
    def name(self) -> str:
        return self.context.name

    @property
    def down(self) -> bool:
        return not self.context.online.is_set()

    @property
    def pods(self) -> list[str]:
        """Names of the pods that have something here, with their namespace."""
        return sorted(f"{worker.namespace}/{worker.name}" for worker in self._workers.values())

    async def run(self) -> None:
        strays = kill_strays(self.context.mark)
        if strays:
            log.warning("node %s: killed %d processes of an earlier life", self.name, strays)
        self.context.power.set()
        self.context.online.set()
        try:
            await self._until(self._register)
            self.registered.set()
            parts = [self._pods.run, self._nodes.run, self._keep_lease, self._keep_settled]
            if self.context.config.gpus:
                parts.append(self._tell_devices)
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part())
        finally:
            await self._shut_down()

    def set_down(self, *, kill: bool) -> None:
        """Goes silent towards the API. `kill`: its processes die too and none starts, as when power is lost."""
        self.context.online.clear()
        if kill:
            self.context.power.clear()
            for process in self.context.processes:
                process.kill()
            self._boot_id = str(uuid.uuid4())
        log.warning("node %s: down%s", self.name, ", processes killed" if kill else "")

    def set_up(self) -> None:
        """Speaks again and catches up with what it missed."""
        self.context.power.set()
        self.context.online.set()
        self._renew_wanted.set()
        self._settle_wanted.set()
        self._catch_up()
        log.info("node %s: up", self.name)

    def _on_pod(self, key: Key, old: Object | None, new: Object | None) -> None:
        if self.down:
            return
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]):
            worker = self._workers.get(old["metadata"]["uid"])
            if worker is not None:
                worker.gone()
        if new is not None:
            self._see(new)

    def _catch_up(self) -> None:
        present = {pod["metadata"]["uid"] for pod in self._pods.store.values()}
        for uid, worker in list(self._workers.items()):
            if uid not in present:
                worker.gone()
        for pod in self._pods.store.values():
            self._see(pod)

    def _see(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._workers:
            self._workers[uid].update(pod)
            return
        worker = self._workers[uid] = PodWorker(self.context, pod, self._admit)
        task = self._tasks[uid] = asyncio.create_task(worker.run())
        task.add_done_callback(lambda done: self._forget(uid, done))

    def _forget(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid)
        self._tasks.pop(uid)
        if not task.cancelled() and task.exception() is not None:
            log.error("pod %s/%s", worker.namespace, worker.name, exc_info=task.exception())

    def _admit(self, worker: PodWorker) -> Refusal | None:
        others = [requests_of(w.pod) for w in self._workers.values() if w is not worker and w.holds_resources]
        refusal = unsupported(worker.pod, self.context.program.images) or out_of(
            requests_of(worker.pod), others, self._allocatable
        )
        if refusal is None:
            self.context.devices.give(worker.pod, self._holding())
        return refusal

    def _holding(self) -> set[str]:
        """UIDs of pods that keep their share of the node."""
        return {uid for uid, worker in self._workers.items() if worker.holds_resources}

    async def _tell_devices(self) -> None:
        await self._pods.synced.wait()  # before, a pod that has devices would seem gone
        async with serving(
            self.context.host_folder / PLACE, lambda: self.context.devices.given(self._holding())
        ):
            await asyncio.Event().wait()

    def _on_node(self, key: Key, old: Object | None, new: Object | None) -> None:
        if new is not None and not self.down:
            self._settle_wanted.set()

    async def _register(self) -> None:
        wanted = node_object(self.context.config)
        try:
            node = await self.context.kube.create(NODE, wanted)
            log.info("node %s: registered", self.name)
        except Conflict:
            node = await self.context.kube.get(NODE, self.name)
        await self._settle(node)
        await self._renew()

    async def _keep_settled(self) -> None:
        while True:
            await self._settle_wanted.wait()
            await self.context.online.wait()
            self._settle_wanted.clear()
            await self._until(self._settle_known)

    async def _settle_known(self) -> None:
        """A node that somebody deleted comes back only with a boot (`set_up`), as a real one does."""
        node = self._nodes.store.get(("", self.name))
        await (self._register() if node is None else self._settle(node))

    async def _settle(self, node: Object) -> None:
        """Brings the API's node to ours where they differ; writes nothing else."""
        labels = labels_patch(node, self.context.config)
        if labels:
            await self.context.kube.merge_patch(NODE, self.name, labels)
        version = self.context.program.version
        patch = node_status_patch(
            node, self.context.config, self._boot_id, version, platform.release(), now_text()
        )
        if patch:
            path = NODE.path(None, self.name, "status")
            await self.context.kube.request("PATCH", path, body=patch, content_type=STRATEGIC_PATCH)

    async def _keep_lease(self) -> None:
        interval_s = self.context.program.lease_duration_s / 4
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._renew_wanted.wait(), interval_s)
            self._renew_wanted.clear()
            await self._until(self._renew)

    async def _renew(self) -> None:
        kube = self.context.kube
        if self._lease is None:
            try:
                self._lease = await kube.get(LEASE, self.name, LEASE_NAMESPACE)
            except NotFound:
                self._lease = await kube.create(LEASE, await self._new_lease())
                return
        self._lease["spec"] |= self._lease_spec()
        try:
            self._lease = await kube.replace(LEASE, self._lease)
        except (Conflict, NotFound):
            self._lease = None
            raise

    def _lease_spec(self) -> Object:
        duration_s = self.context.program.lease_duration_s
        return {
            "holderIdentity": self.name,
            "leaseDurationSeconds": duration_s,
            "renewTime": now_micro_text(),
        }

    async def _new_lease(self) -> Object:
        node = await self.context.kube.get(NODE, self.name)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node["metadata"]["uid"]}
        metadata = {"name": self.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self._lease_spec(),
        }

    async def _until(self, step: Callable[[], Awaitable[None]]) -> None:
        """Tries a step until it succeeds, with bounded pauses; waits while the node is down."""
        pause_s = RETRY_MIN_S
        while True:
            await self.context.online.wait()
            try:
                await step()
                return
            except KubeError as error:
                log.warning("node %s: %s; again in %.1f s", self.name, error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, pause_s * 2)

    async def _shut_down(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        hurry = asyncio.Event()
        alive = [process for process in self.context.processes if process.alive]
        await asyncio.gather(*(process.end(SHUTDOWN_GRACE_S, hurry) for process in alive))
        await self.context.kube.close()
