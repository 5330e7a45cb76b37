"""What every step of the demonstration uses: the stack, callers, the witness, watched objects, the figures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from rich.console import Console

from ingle_kit.kube import Conflict, Object
from ingle_kit.names import AUDIENCE, GPU_NODE, INFERENCE_POOL, POD, POWER_BUDGET, SERVICE_ACCOUNT
from ingle_kit.watch import Reflector
from ingle_lab.demo.clients import Client
from ingle_lab.demo.witness import Witness
from ingle_lab.stack import Stack
from ingle_lab.stack.nodes import base_environment, prepare_node
from ingle_lab.stack.objects import apply_files
from ingle_lab.stack.stack import ROOT

NAMESPACE = "chat"
EXAMPLES = ("namespace.yaml", "pools.yaml", "policies.yaml", "powerbudget.yaml")
WARM_POOLS = ("llama-8b", "mistral-7b", "qwen-32b")
COLD_POOL = "qwen-8b"
HOST_W = 900
BUDGET = "hall"


class StepFailed(Exception):
    """The demonstration did not show what it must; the text says what was seen instead."""


@dataclass
class Scene:
    """Made once by `open_scene`; steps read and drive it and write `figures`."""

    stack: Stack
    session: aiohttp.ClientSession
    console: Console
    started_at_s: float
    figures: dict[str, Any] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    witness: Witness | None = None
    pools: Reflector[Object] = field(init=False)
    pods: Reflector[Object] = field(init=False)
    gpu_nodes: Reflector[Object] = field(init=False)
    budgets: Reflector[Object] = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def watch(self) -> None:
        api = self.stack.api
        self.pools = Reflector(api, INFERENCE_POOL, decode=_same)
        self.pods = Reflector(api, POD, decode=_same, namespace=NAMESPACE)
        self.gpu_nodes = Reflector(api, GPU_NODE, decode=_same)
        self.budgets = Reflector(api, POWER_BUDGET, decode=_same)
        for reflector in (self.pools, self.pods, self.gpu_nodes, self.budgets):
            self._tasks.append(asyncio.get_running_loop().create_task(reflector.run()))
            await reflector.synced.wait()

    async def close(self) -> None:
        if self.witness is not None:
            await self.witness.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def say(self, text: str) -> None:
        """One line for people, with the seconds since the command was typed."""
        self.console.print(f"[dim]{time.time() - self.started_at_s:6.1f} s[/dim]  {text}", highlight=False)

    def head(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]", highlight=False)

    def pool(self, name: str) -> Object:
        return self.pools.store[(NAMESPACE, name)]

    def replicas(self, name: str) -> dict[str, int]:
        status = (self.pools.store.get((NAMESPACE, name)) or {}).get("status") or {}
        found: dict[str, int] = status.get("replicas") or {}
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = (self.pool(name).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    def engines(self, pool: str) -> list[Object]:
        return [p for p in self.pods.store.values() if p["metadata"]["labels"].get("ingle.dev/pool") == pool]

    def holder(self, uid: str) -> dict[str, Any]:
        """The ledger's entry of a pod, with its node's name."""
        for (_, node), obj in self.gpu_nodes.store.items():
            for pod in obj["spec"]["pods"]:
                if pod["uid"] == uid:
                    return {**pod, "node": node}
        return {}

    async def until(self, what: str, check: Callable[[], Any], timeout_s: float = 90.0) -> Any:
        return await self.stack.wait_for(what, check, timeout_s)

    async def all_asleep(self, *pools: str) -> None:
        """Waits until each pool has a sleeper and nothing awake."""

        def settled() -> bool:
            counts = [self.replicas(name) for name in pools]
            return all(
                c.get("asleep", 0) >= 1 and not c.get("awake") and not c.get("starting") for c in counts
            )

        await self.until(f"{', '.join(pools)} to sleep", settled)

    def gateway_pod(self) -> str:
        return "ingle-gateway-0"


def _same(obj: Object) -> Object:
    return obj


async def make_clients(scene: Scene) -> None:
    """Two callers: a member of the team and a guest, with tokens for our audience."""
    assert scene.stack.plane is not None
    for name in ("team", "guest"):
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": NAMESPACE},
        }
        with contextlib.suppress(Conflict):
            await scene.stack.api.create(SERVICE_ACCOUNT, account)
        token = await asyncio.to_thread(
            scene.stack.plane.service_account_token, NAMESPACE, name, audiences=[AUDIENCE], expiration_s=7200
        )
        scene.clients[name] = Client(scene.session, scene.stack.gateway, token)


async def apply_examples(scene: Scene) -> None:
    await apply_files(scene.stack.api, [ROOT / "examples" / name for name in EXAMPLES])


async def start_witness(scene: Scene) -> None:
    environments = {
        node.name: base_environment() | prepare_node(scene.stack.lab, node, scene.stack.time_scale)
        for node in scene.stack.nodes
    }
    scene.witness = Witness(scene.stack.api, environments, HOST_W)
    await scene.witness.start()


def write_figures(scene: Scene) -> Path:
    """`.lab/demo.json`: one flat object."""
    path = scene.stack.lab / "demo.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(scene.figures), indent=2) + b"\n")
    return path
