"""Starts everything in order, waits for states, stops everything. One stack a lab folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from ingle_kit.kube import Conflict, Kube, KubeError, NotFound, Object
from ingle_kit.names import CRD, GPU_NODE, NODE, POD, PORT_ROUTER, SYSTEM_NAMESPACE
from ingle_lab.controlplane import ControlPlane, Settings, build
from ingle_lab.controlplane import tether as tethering
from ingle_lab.stack import pods
from ingle_lab.stack.nodes import (
    DEMO_NODES,
    SYSTEM_NODE,
    LabNode,
    address_of,
    base_environment,
    node_labels,
    prepare_node,
    write_config,
)
from ingle_lab.stack.objects import apply_files

ROOT = Path(__file__).parents[4]
WAIT_S = 90.0

FAST = {
    "INGLE_LEASE_DURATION_S": "6",
    "INGLE_LEASE_RENEW_S": "1",
    "INGLE_ORPHAN_S": "5",
    "INGLE_SCHEDULER_LEASE_S": "6",
    "INGLE_LOG_LEVEL": "INFO",
}


class StackError(Exception):
    """The lab cannot start or did not reach a state in time; the text says what to look at."""


class Stack:
    """Use as an async context manager. `settings` are environment variables of our own processes."""

    def __init__(
        self,
        lab: Path,
        *,
        nodes: tuple[LabNode, ...] = DEMO_NODES,
        time_scale: float = 0.1,
        settings: dict[str, str] | None = None,
        plane: Settings | None = None,
        base: int = 20,
        fresh: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.lab = lab.absolute()
        self.nodes, self.time_scale, self._base = nodes, time_scale, base
        self._settings = FAST | (settings or {})
        self._plane_settings = plane or Settings()
        self._fresh, self._say = fresh, say
        self._node_program: subprocess.Popen[bytes] | None = None
        self.plane: ControlPlane | None = None
        self.kube: Kube | None = None

    @property
    def gateway(self) -> str:
        """URL for clients."""
        return f"http://{address_of(0, self._base)}:8080"

    @property
    def router(self) -> str:
        """URL of the router's metrics and demand stream."""
        return f"http://{address_of(0, self._base)}:{PORT_ROUTER}"

    @property
    def api(self) -> Kube:
        """The API as administrator."""
        if self.kube is None:
            raise StackError("the stack is not started")
        return self.kube

    async def __aenter__(self) -> Stack:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when all of our pods are ready and every node has reported its GPUs."""
        self.lab.mkdir(parents=True, exist_ok=True)
        binaries = await asyncio.to_thread(build)
        self._say("starting the control plane")
        self.plane = ControlPlane(
            self.lab, replace(self._plane_settings), fresh=self._fresh, binaries=binaries
        )
        if self._fresh:
            for state in self.lab.glob("nodes/*/gpus.state"):
                state.unlink()
        await asyncio.to_thread(self.plane.start)
        self.kube = Kube.connect(user_agent="ingle-lab", kubeconfig=str(self.plane.kubeconfig))
        self._say("applying crds/ and charts/manifests/")
        await apply_files(self.kube, sorted((ROOT / "crds").glob("*.yaml")))
        await self._wait_for_kinds()
        await apply_files(
            self.kube, sorted((ROOT / "charts" / "manifests").glob("*.yaml"), key=_namespace_first)
        )
        self._say("starting nodes and our own pods")
        self.start_nodes(self._write_nodes(binaries / "kube-scheduler"))
        await self._create_pods()
        await self.wait_for("our pods to be ready", self.pods_ready)
        await self.wait_for("every node to report its GPUs", self._nodes_reported)

    async def stop(self) -> None:
        """Ends every process; nothing is left."""
        if self._node_program is not None:
            self._node_program.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._node_program.wait, 15)
            except subprocess.TimeoutExpired:
                self._node_program.kill()
                self._node_program.wait()
            self._node_program = None
        if self.kube is not None:
            await self.kube.close()
        if self.plane is not None:
            await asyncio.to_thread(self.plane.stop)

    def _write_nodes(self, kube_scheduler: Path) -> Path:
        assert self.plane is not None
        entries: list[dict[str, Any]] = []
        for index, node in enumerate((None, *self.nodes)):
            name = node.name if node else SYSTEM_NODE
            kubeconfig = self.plane.node_kubeconfig(name)
            env = prepare_node(self.lab, node, self.time_scale) if node else {}
            entries.append(
                {
                    "name": name,
                    "address": address_of(index, self._base),
                    "kubeconfig": str(kubeconfig),
                    "labels": node_labels(name),
                    "capacity": {"cpu": "128", "memory": "2000Gi"},
                    "env": env | {"INGLE_LAB_FAULTS": "1"},
                }
            )
        return write_config(self.lab, entries, kube_scheduler, base_environment())

    def start_nodes(self, config: Path | None = None) -> None:
        """Starts the node program; it ends with this process."""
        path = config or self.lab / "nodes.yaml"
        log = (self.lab / "logs" / "nodes.log").open("ab")
        tether = [sys.executable, "-I", "-S", tethering.__file__, str(os.getpid())]
        command = [*tether, sys.executable, "-m", "ingle_lab.node", "--config", str(path)]
        self._node_program = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    async def kill_nodes(self) -> None:
        """kill -9 of the node program: all pods of all nodes die with it. `start_nodes` starts it again."""
        if self._node_program is not None:
            self._node_program.kill()
            await asyncio.to_thread(self._node_program.wait)
            self._node_program = None

    async def _create_pods(self) -> None:
        made = [
            pods.operator_pod(SYSTEM_NODE, self._settings),
            pods.scheduler_pod(SYSTEM_NODE, self._settings),
            pods.gateway_pod(SYSTEM_NODE, self._settings),
            *(pods.agent_pod(node.name, self._settings) for node in self.nodes),
        ]
        for pod in made:
            await self.wait_for(f"pod {pod['metadata']['name']}", lambda pod=pod: self._create(pod))  # type: ignore[misc]

    async def _create(self, pod: Object) -> bool:
        try:
            await self.api.create(POD, pod)
        except Conflict:
            return True
        except KubeError:
            return False
        return True

    async def wait_for(self, what: str, check: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
        """Returns the first true answer of `check` (which may be async). Raises StackError after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._node_program is not None and self._node_program.poll() is not None:
                raise StackError(f"the node program ended: see {self.lab / 'logs' / 'nodes.log'}")
            answer = check()
            answer = await answer if asyncio.iscoroutine(answer) else answer
            if answer:
                return answer
            if time.monotonic() > deadline_s:
                raise StackError(f"waited {timeout_s:.0f} s for {what}; logs are in {self.lab / 'logs'}")
            await asyncio.sleep(0.1)

    async def pods_ready(self) -> bool:
        """Whether all of our pods are ready, and so now: a status may be older than the end of its process."""
        items, _ = await self.api.list(POD, SYSTEM_NAMESPACE)
        return len(items) >= 3 + len(self.nodes) and all(_is_ready(pod) and _runs(pod) for pod in items)

    async def _nodes_reported(self) -> bool:
        items, _ = await self.api.list(GPU_NODE)
        filled = [node for node in items if node["spec"].get("gpus")]
        return len(filled) == len(self.nodes)

    async def _wait_for_kinds(self) -> None:
        async def established() -> bool:
            items, _ = await self.api.list(CRD)
            return all(_has_condition(item, "Established") for item in items)

        await self.wait_for("our kinds to be established", established)

    async def pid(self, pod: str, container: str, namespace: str = SYSTEM_NAMESPACE) -> int:
        """Process id of a running container. Raises NotFound or StackError."""
        found = await self.api.get(POD, pod, namespace)
        for status in (found.get("status") or {}).get("containerStatuses") or ():
            if status["name"] == container and "running" in (status.get("state") or {}):
                return int(str(status["containerID"]).rpartition("/")[2])
        raise StackError(f"container {container} of pod {pod} does not run")

    async def kill(self, pod: str, container: str, namespace: str = SYSTEM_NAMESPACE) -> int:
        """kill -9 of a container's process; returns its process id."""
        pid = await self.pid(pod, container, namespace)
        os.kill(pid, signal.SIGKILL)
        return pid

    async def restart_operator(self, settings: dict[str, str]) -> None:
        """A new operator pod with these environment variables beside those of the stack; returns when it is ready."""
        pod = pods.operator_pod(SYSTEM_NODE, self._settings | settings)
        name = pod["metadata"]["name"]
        await self.api.delete(POD, name, SYSTEM_NAMESPACE)

        async def gone() -> bool:
            return not await self.pod_exists(SYSTEM_NAMESPACE, name)

        await self.wait_for(f"pod {name} to end", gone)
        await self.wait_for(f"pod {name}", lambda: self._create(pod))
        await self.wait_for("our pods to be ready", self.pods_ready)

    async def pod_exists(self, namespace: str, name: str) -> bool:
        try:
            await self.api.get(POD, name, namespace)
        except NotFound:
            return False
        return True

    async def nodes_ready(self) -> bool:
        items, _ = await self.api.list(NODE)
        return len(items) == 1 + len(self.nodes) and all(_has_condition(node, "Ready") for node in items)


def _namespace_first(path: Path) -> tuple[int, str]:
    order = {"namespace.yaml": 0, "serviceaccounts.yaml": 1, "rbac.yaml": 2}
    return order.get(path.name, 9), path.name


def _is_ready(pod: Object) -> bool:
    return _has_condition(pod, "Ready")


def _runs(pod: Object) -> bool:
    """Whether the processes that the status names are there."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return all(_alive(str(status.get("containerID", "")).rpartition("/")[2]) for status in statuses)


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _has_condition(obj: Object, kind: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def load_yaml(path: Path) -> list[Object]:
    return [doc for doc in yaml.safe_load_all(path.read_text()) if doc]
