"""A real API server, the operator's own parts in this process, and a site (site_model.py) around them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, KubeError, Object
from ingle_lab.controlplane import ControlPlane
from ingle_operator.main import leader_of
from ingle_operator.settings import OperatorSettings
from ingle_operator.work import queue_of
from ingle_operator.world import World

ROOT = Path(__file__).resolve().parents[2]


def _sibling(name: str) -> Any:
    """A module of this folder: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"operator_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


engine_model = _sibling("engine_model")  # first: the site imports it by that name
site_model = _sibling("site_model")
Site = site_model.Site
until = site_model.until


@pytest.fixture(scope="session")
def plane(guarded_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> ControlPlane:
    return handover(guarded_plane)


@pytest.fixture(scope="session")
def account(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """account(NAME): path of a kubeconfig of that service account of ours."""
    folder = tmp_path_factory.mktemp("accounts")

    def of(name: str) -> str:
        path = folder / name
        if not path.exists():
            token = plane.service_account_token(names.SYSTEM_NAMESPACE, f"ingle-{name}")
            plane.token_kubeconfig(path, token)
        return str(path)

    return of


def pool_body(name: str = "p", **spec: Any) -> Object:
    """An InferencePool in `default` whose engine the site's GPUs can hold twice."""
    variant = {
        "name": "v",
        "gpus": 1,
        "memoryMiB": {"awake": engine_model.AWAKE_MIB, "asleep": engine_model.ASLEEP_MIB, "host": 0},
        "watts": {"busy": 300, "idle": 60},
    }
    base = {
        "model": f"model-{name}",
        "engine": {"kind": "VLLM", "image": "i", "startSeconds": 60},
        "variants": [variant],
        "replicas": {"min": 0, "max": 1},
        "scaling": {"concurrency": 4},
        "warm": {"asleep": 1, "idleSeconds": 1},
    }
    metadata = {"name": name, "namespace": "default"}
    kind = {"apiVersion": names.INFERENCE_POOL.api_version, "kind": "InferencePool"}
    return {**kind, "metadata": metadata, "spec": base | spec}


class Operators:
    """Starts the operator's parts in this process, without kopf: same keys, same reconcilers, a real lease."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig

    @contextlib.asynccontextmanager
    async def running(self, *, work: bool = True, **settings: Any) -> AsyncIterator[World]:
        """Leads and has its caches; with `work` False nothing is reconciled but what the test calls itself."""
        wanted = {"lease_duration_s": 6.0, "lease_renew_s": 0.5, "orphan_s": 2.0, "pod_uid": "u"} | settings
        options = OperatorSettings(**wanted)
        async with (
            Kube.connect(user_agent="lease", kubeconfig=self._kubeconfig) as lease,
            aiohttp.ClientSession() as session,
        ):
            world = World(options, leader_of(options, lease), session, kubeconfig=self._kubeconfig)
            tasks = [asyncio.ensure_future(r.run()) for r in world.reflectors()]
            tasks.append(asyncio.ensure_future(world.leader.run()))
            try:
                for reflector in world.reflectors():
                    await asyncio.wait_for(reflector.synced.wait(), 20)
                await asyncio.wait_for(world.leader.leading.wait(), 20)
                if work:
                    world.queue = queue_of(world)
                    world.add_all()
                yield world
            finally:
                if world.queue is not None:
                    await world.queue.close()
                await world.agents.close()
                await world.routers.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await world.leader.release()
                await world.kube.close()


@pytest.fixture
def operators(account: Callable[[str], str]) -> Operators:
    return Operators(account("operator"))


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[Kube]:
    """The administrator."""
    async with Kube.connect(user_agent="test", kubeconfig=str(plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def site(kube: Kube, account: Callable[[str], str]) -> AsyncIterator[Any]:
    """An empty site; what it and the operator made is removed at the end."""
    async with Kube.connect(user_agent="scheduler", kubeconfig=account("scheduler")) as scheduler:
        site = Site(kube, scheduler)
        site.spawn(site.pods.run())
        try:
            yield site
        finally:
            await clear(kube)
            await site.close()


async def clear(kube: Kube) -> None:
    for kind in (
        names.INFERENCE_POOL,
        names.ROUTING_POLICY,
        names.POWER_BUDGET,
        names.POD,
        names.GPU_NODE,
        names.NODE,
        names.LEASE,
    ):
        for obj in (await kube.list(kind))[0]:
            metadata = obj["metadata"]
            if kind is names.LEASE and metadata["namespace"] != names.SYSTEM_NAMESPACE:
                continue
            with contextlib.suppress(KubeError):
                await kube.delete(kind, metadata["name"], metadata.get("namespace"), grace_s=0)


def condition(obj: Object, kind: str) -> dict[str, Any]:
    """The condition of that type, {} where there is none."""
    found = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


@pytest.fixture
def bodies() -> Any:
    """`bodies.pool(NAME, **spec)`, `bodies.condition(OBJ, TYPE)`, `bodies.state(...)`: helpers that need no cluster."""
    return type(
        "Bodies",
        (),
        {"pool": staticmethod(pool_body), "condition": staticmethod(condition), "until": staticmethod(until)},
    )


class Process:
    """`ingle-operator` as a process of its own, with an account token of its own."""

    def __init__(self, plane: ControlPlane, folder: Path, name: str, address: str) -> None:
        self.token = plane.service_account_token(names.SYSTEM_NAMESPACE, "ingle-operator")
        claims = self.token.split(".")[1]
        id_ = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
        self.credential = f"JTI={id_}"  # as the audit log names it
        config = plane.token_kubeconfig(folder / f"{name}.kubeconfig", self.token)
        self.name, self.url, self.log = (
            name,
            f"http://{address}:{names.PORT_OPERATOR}",
            folder / f"{name}.log",
        )
        env = {
            "INGLE_KUBECONFIG": str(config),
            "INGLE_POD_NAME": name,
            "INGLE_POD_UID": "uid",
            "INGLE_LISTEN": address,
            "INGLE_LEASE_DURATION_S": "3",
            "INGLE_LEASE_RENEW_S": "0.5",
            "INGLE_LOG_LEVEL": "DEBUG",
        }
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", "from ingle_operator.main import main; main()"]
            self.popen = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log)

    @property
    def identity(self) -> str:
        return f"{self.name}_uid"

    async def healthy(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def process(plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """process(NAME): starts one; all are killed at the end."""
    started: list[Process] = []

    def start(name: str) -> Process:
        address = f"127.{engine_model.NET}.9.{len(started) + 1}"
        started.append(Process(plane, tmp_path, name, address))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def audit(plane: ControlPlane) -> Callable[[], list[dict[str, Any]]]:
    """Writes by the operator's account so far, from the audit log: [{verb, resource, name, ...}]."""

    def writes() -> list[dict[str, Any]]:
        found = []
        for line in plane.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"].endswith(":ingle-operator") and event["verb"] not in (
                "get",
                "list",
                "watch",
            ):
                found.append(event)
        return found

    return writes
