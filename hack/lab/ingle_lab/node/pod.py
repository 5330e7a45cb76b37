"""One bound pod: admit, prepare, run, report, end."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ingle_kit.kube import Conflict, KubeError, NotFound, Object
from ingle_kit.names import POD
from ingle_lab.node import supply
from ingle_lab.node.addresses import NoAddress
from ingle_lab.node.admission import Refusal, prefix_of, programs_of
from ingle_lab.node.clock import now_text
from ingle_lab.node.command import Command, command_of
from ingle_lab.node.container import Container, Surroundings
from ingle_lab.node.context import NodeContext
from ingle_lab.node.facts import NotYet, Place
from ingle_lab.node.process import Process
from ingle_lab.node.status import PodFacts, phase_of, status_of, status_patch
from ingle_lab.node.volumes import Volumes, make_sub_paths

STRATEGIC_PATCH = "application/strategic-merge-patch+json"
RETRY_MIN_S = 0.05
RETRY_MAX_S = 5.0
RETRY_SHOWN_S = 1.0
STOP_S = 1.0

log = logging.getLogger(__name__)

Admit = Callable[["PodWorker"], Refusal | None]


class PodWorker:
    """Runs one pod, known by its uid. `update` and `gone` bring news; `run` returns when nothing is left of it."""

    def __init__(self, node: NodeContext, pod: Object, admit: Admit) -> None:
        self._node, self._admit = node, admit
        self.pod = pod
        metadata = pod["metadata"]
        self.uid, self.name, self.namespace = metadata["uid"], metadata["name"], metadata["namespace"]
        self._version = int(metadata["resourceVersion"])
        self._dirty = asyncio.Event()
        self._ending = asyncio.Event()
        self._gone = False
        self._ended = False
        self._refusal: Refusal | None = None
        before = pod.get("status") or {}
        self._was_over = before.get("phase") in ("Succeeded", "Failed")
        self._started_at = before.get("startTime") or now_text()
        self._volumes = Volumes({}, ())
        self._admitted = "startTime" in before and not self._was_over
        self._leased_address = ""
        self._place = self._take_place(before.get("podIP"))
        self._init = [self._container(spec) for spec in pod["spec"].get("initContainers") or []]
        self._main = [self._container(spec) for spec in pod["spec"]["containers"]]
        self._commands: dict[str, Command] = {}
        self._see_deletion()

    @property
    def holds_resources(self) -> bool:
        """Whether it counts against the node's allocatable."""
        if not self._admitted or self._gone:
            return False
        policy = self.pod["spec"].get("restartPolicy", "Always")
        return phase_of(self._facts(), policy) not in ("Succeeded", "Failed")

    def update(self, pod: Object) -> None:
        """A newer version of the pod; older ones are ignored."""
        version = int(pod["metadata"]["resourceVersion"])
        if version < self._version:
            return
        self.pod, self._version = pod, version
        self._see_deletion()
        self._dirty.set()

    def gone(self) -> None:
        """The API no longer has it: kill at once."""
        self._gone = True
        for container in self._containers():
            container.kill()
        self._ending.set()

    async def run(self) -> None:
        writer = asyncio.create_task(self._write_when_dirty())
        life = asyncio.create_task(self._live())
        try:
            await self._ending.wait()
            await asyncio.gather(*(c.stop(self._grace_s()) for c in self._containers()))
            await asyncio.wait({life}, timeout=STOP_S)
            self._ended = True
            writer.cancel()
            if not self._gone:
                await self._say_goodbye()
        finally:
            life.cancel()
            writer.cancel()
        self._clean_up()

    def _see_deletion(self) -> None:
        if self.pod["metadata"].get("deletionTimestamp"):
            self._ending.set()

    def _grace_s(self) -> float:
        if self._gone:
            return 0.0
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        return float(given if given is not None else self._spec_grace_s())

    def _spec_grace_s(self) -> float:
        given = self.pod["spec"].get("terminationGracePeriodSeconds")
        return 30.0 if given is None else float(given)

    def _containers(self) -> list[Container]:
        return [*self._init, *self._main]

    def _take_place(self, wanted: str | None) -> Place:
        node = self._node
        own = node.config.address
        address = own
        if self._was_over:
            address = wanted or own
        elif not self.pod["spec"].get("hostNetwork"):
            try:
                address = self._leased_address = node.addresses.take(wanted)
            except NoAddress as error:
                self._refusal = Refusal("OutOfpods", str(error))
        return Place(node.name, own, address, node.api.host, node.api.port)

    def _container(self, spec: Object) -> Container:
        status = self.pod.get("status") or {}
        init = spec in (self.pod["spec"].get("initContainers") or [])
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if init and policy == "Always":
            policy = "OnFailure"
        known = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        around = Surroundings(
            launch=lambda words: self._launch(spec, words),
            address=self._place.pod_address,
            policy=policy,
            grace_s=self._spec_grace_s(),
            power=self._node.power,
            changed=self._dirty.set,
            label=f"{self.namespace}/{self.name}/{spec['name']}",
        )
        return Container(spec, around, next((c for c in known if c["name"] == spec["name"]), None))

    async def _live(self) -> None:
        if self._was_over:
            return
        try:
            if not self._admitted and self._refusal is None:
                self._refusal = self._admit(self)
                self._admitted = self._refusal is None
            if self._refusal is None and await self._prepare():
                await self._run_containers()
        except Exception as error:  # one pod that trips us must not stop the node's others
            log.exception("pod %s/%s", self.namespace, self.name)
            self._refusal = Refusal("NodeStandInError", repr(error))
        if self._refusal is not None:
            log.warning("pod %s/%s: %s", self.namespace, self.name, self._refusal)
        self._dirty.set()

    async def _prepare(self) -> bool:
        """Tries until everything is there; False when the pod was told to end before."""
        pause_s = RETRY_MIN_S
        while not self._ending.is_set():
            try:
                await self._make_commands()
                return True
            except (KubeError, NotYet) as error:
                if pause_s >= RETRY_SHOWN_S:  # before, it is most often the API server that lags behind
                    for container in self._containers():
                        container.wait_for("CreateContainerConfigError", str(error))
                    self._dirty.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause_s)
            pause_s = min(RETRY_MAX_S, pause_s * 2)
        return False

    async def _make_commands(self) -> None:
        node = self._node
        sources = await supply.fetch_sources(node, self.pod)
        self._volumes = await supply.make_ready(node, self.pod, self._place, sources)
        for spec in [*(self.pod["spec"].get("initContainers") or []), *self.pod["spec"]["containers"]]:
            images = node.program.images
            given = node.devices.environment(self.uid, spec["name"])
            self._commands[spec["name"]] = command_of(
                spec,
                self.pod,
                self._place,
                prefix=prefix_of(spec, images),
                base_env=node.base_env(programs_of(spec, images)) | given,
                volumes=self._volumes.folders,
                sources=sources,
            )
            make_sub_paths(self._commands[spec["name"]].sub_paths)

    async def _run_containers(self) -> None:
        tokens = asyncio.create_task(supply.keep_tokens_fresh(self._node, self.pod, self._volumes))
        try:
            for container in self._init:
                await container.run()
                if container.facts().exit_code != 0:
                    return
            await asyncio.gather(*(container.run() for container in self._main))
        finally:
            tokens.cancel()

    def _launch(self, spec: Object, words: Sequence[str] | None) -> Process:
        command = self._commands[spec["name"]]
        own_folder = self._node.pod_folder(self.uid) / spec["name"]
        log_path = self._node.log_path(self.namespace, self.name, spec["name"])
        cwd = Path(command.cwd) if command.cwd else own_folder
        process = self._node.start(words if words is not None else command.argv, command.env, cwd, log_path)
        link = self._node.pod_folder(self.uid) / f"{spec['name']}.log"
        with suppress(FileExistsError):
            link.symlink_to(log_path)
        return process

    def _facts(self) -> PodFacts:
        return PodFacts(
            init=tuple(c.facts() for c in self._init),
            main=tuple(c.facts() for c in self._main),
            refusal=self._refusal,
            ended=self._ended,
            started_at=self._started_at,
            address=self._place.pod_address,
            host_address=self._place.node_address,
        )

    async def _write_when_dirty(self) -> None:
        pause_s = RETRY_MIN_S
        while True:
            await self._dirty.wait()
            await self._node.online.wait()
            self._dirty.clear()
            try:
                await self._write()
                pause_s = RETRY_MIN_S
            except KubeError as error:
                log.warning("status of pod %s/%s: %s", self.namespace, self.name, error)
                self._dirty.set()
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, pause_s * 2)

    async def _write(self) -> None:
        """Brings the API's status to ours; nothing is sent when they agree or the pod is over."""
        if self._was_over:
            return
        patch = status_patch(self.pod.get("status") or {}, status_of(self.pod, self._facts(), now_text()))
        if not patch:
            return
        body = {"metadata": {"uid": self.uid}, "status": patch}
        path = POD.path(self.namespace, self.name, "status")
        try:
            self.update(await self._node.kube.request("PATCH", path, body=body, content_type=STRATEGIC_PATCH))
        except (NotFound, Conflict):
            return  # gone, or a namesake took its place: the watch will say so

    async def _say_goodbye(self) -> None:
        """The last status, then the deletion that a kubelet owes a pod that has ended."""
        pause_s = RETRY_MIN_S
        while not self._gone:
            await self._node.online.wait()
            try:
                await self._write()
                await self._node.kube.delete(POD, self.name, self.namespace, uid=self.uid, grace_s=0)
                return
            except Conflict:
                return  # a namesake: ours is gone
            except KubeError as error:
                log.warning("deletion of pod %s/%s: %s", self.namespace, self.name, error)
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, pause_s * 2)

    def _clean_up(self) -> None:
        shutil.rmtree(self._node.pod_folder(self.uid), ignore_errors=True)
        if self._leased_address:
            self._node.addresses.give_back(self._leased_address)
