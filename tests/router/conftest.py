"""A real Envoy in front of a real router, small engines behind; the watches are fed by hand.

The watches themselves are tested with the kit, the decision alone in tests/core/routing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web

from ingle_kit import names
from ingle_kit.kube import Unavailable
from ingle_router.cluster import Cluster
from ingle_router.envoy import bootstrap
from ingle_router.permissions import compile_rule
from ingle_router.rules import EnginePod, PoolSpec, engine_of, policy_of, pool_of
from ingle_router.serve import Running, running
from ingle_router.settings import Settings

from .engine import Engine

ENVOY = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
CHAT = "/v1/chat/completions"
_addresses = itertools.count()


def next_address() -> str:
    """A loopback address whose neighbours .10 and up are free for engines."""
    pid = os.getpid()
    return f"127.{130 + pid % 100}.{(pid // 100 * 64 + next(_addresses)) % 250}.1"


async def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Waits for a state, not for a time."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any state, not only one that has an event
            await asyncio.sleep(0.005)


class Reviewer:
    """The API server's token reviews: `USER` or `USER:GROUP` is a token of that user, `bad…` of nobody."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.down = False

    async def create(self, kind: names.Kind, obj: dict[str, Any]) -> dict[str, Any]:
        assert kind is names.TOKEN_REVIEW
        self.asked.append(obj)
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(0, "ConnectionError", "refused")
        user, _, group = obj["spec"]["token"].partition(":")
        if user.startswith("bad"):
            return {"status": {"authenticated": False}}
        about = {"username": user, "groups": ["system:authenticated", *([group] if group else [])]}
        return {"status": {"authenticated": True, "user": about, "audiences": obj["spec"]["audiences"]}}


class HandFed:
    """Stands where the three watches stand."""

    def __init__(self) -> None:
        self.is_synced = True

    def synced(self) -> bool:
        return self.is_synced

    def ages_s(self) -> dict[str, Callable[[], float]]:
        return {"Pod": lambda: 0.0}

    async def run(self) -> None:
        await asyncio.Event().wait()


class Rig:
    """Everything a test needs to feed and to ask."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self.settings, self._stack = settings, stack
        self.cluster = Cluster(asyncio.get_running_loop().time)
        self.reviewer = Reviewer()
        self.watches = HandFed()
        self.running: Running
        self.picker_away: Callable[[], Awaitable[None]]
        self.http: aiohttp.ClientSession
        self._seen: dict[tuple[str, str], EnginePod] = {}
        self._pools: dict[tuple[str, str], PoolSpec] = {}
        self._octet = itertools.count(10)

    @property
    def url(self) -> str:
        return f"http://{self.settings.listen}:{self.settings.port_gateway}"

    def pool(self, name: str, model: str = "", namespace: str = "chat", **more: Any) -> None:
        status = more.pop("status", {})
        metadata = {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": more.pop("created", "2026-01-01T00:00:00Z"),
        }
        spec = {
            "model": model or f"org/{name}",
            "engine": {"port": 8000},
            "variants": [{"name": "bf16"}],
            **more,
        }
        new = pool_of({"metadata": metadata, "spec": spec, "status": status})
        key = (namespace, name)
        self.cluster.on_pool(key, self._pools.get(key), new)
        self._pools[key] = new

    def policy(self, name: str, models: list[str], rules: list[dict[str, str]], **more: Any) -> None:
        obj = {
            "metadata": {"name": name, "namespace": "chat"},
            "spec": {"models": models, "permissions": rules, **more},
        }
        self.cluster.on_policy(("chat", name), None, policy_of(obj, compile_rule))

    async def engine(self, pool: str, awake: bool = True, namespace: str = "chat") -> Engine:
        number = next(self._octet)
        ip = self.settings.listen.rpartition(".")[0] + f".{number}"
        engine = Engine(f"{ip}:8000", f"uid-{number}")
        runner = web.AppRunner(engine.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, ip, 8000).start()
        self.pod(engine, pool, awake, namespace)
        return engine

    def pod(self, engine: Engine, pool: str, awake: bool, namespace: str = "chat", **metadata: Any) -> None:
        self._n = getattr(self, "_n", 0) + 1
        obj = {
            "metadata": {
                "name": engine.uid,
                "namespace": namespace,
                "uid": engine.uid,
                "labels": {names.LABEL_POOL: pool},
                **metadata,
            },
            "status": {
                "phase": "Running",
                "podIP": engine.address.partition(":")[0],
                "conditions": [
                    {"type": names.GATE_AWAKE, "status": str(awake), "lastTransitionTime": str(self._n)}
                ],
            },
        }
        key, new = (namespace, engine.uid), engine_of(obj)
        self.cluster.on_engine(key, self._seen.get(key), new)
        self._seen[key] = new

    def gone(self, engine: Engine, namespace: str = "chat") -> None:
        key = (namespace, engine.uid)
        self.cluster.on_engine(key, self._seen.pop(key), None)

    def in_flight(self, engine: Engine) -> int:
        endpoint = self.cluster.endpoints.get(engine.uid)
        return 0 if endpoint is None else endpoint.in_flight

    def waiting(self, pool: str) -> int:
        return self.cluster[pool].waiting

    def at_rest(self) -> bool:
        """Whether nothing is held, counted or under way any more."""
        router = self.running.router
        places = router.places
        counts = (len(places), places.held, places.held_bytes, len(router.releases), len(places.pools()))
        return not any(counts) and not any(e.in_flight for e in self.cluster.endpoints.values())

    def ask(self, model: str, token: str = "alice", path: str = CHAT, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {token}"} | more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return self.http.post(self.url + path, data=orjson.dumps(body), headers=headers)

    async def answer(self, model: str, token: str = "alice", **more: Any) -> tuple[int, dict[str, Any], Any]:
        """Status, body, headers."""
        async with self.ask(model, token, **more) as response:
            return response.status, await response.json(), response.headers


async def start_envoy(listen: str, config_text: str, folder: Path, stack: AsyncExitStack) -> None:
    """A real Envoy that accepts connections at `listen` when this returns; stopped with the stack."""
    config = folder / "envoy.yaml"
    config.write_text(config_text)
    log = stack.enter_context((folder / "envoy.log").open("wb"))
    process = await asyncio.create_subprocess_exec(
        ENVOY,
        "-c",
        config,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "warning",
        stdout=log,
        stderr=log,
    )

    async def stop() -> None:
        if process.returncode is None:
            process.terminate()
        await process.wait()

    stack.push_async_callback(stop)

    def listening() -> bool:
        assert process.returncode is None, (folder / "envoy.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((listen, names.PORT_GATEWAY)) == 0

    await eventually(listening, 15)


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> Rig:
            listen = next_address()
            values = {"gauge_period_s": 0.1, "again_s": 0.02, "drain_s": 5.0} | settings
            rig = Rig(Settings(listen=listen, **values), stack)
            rig.http = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
            )
            router = await stack.enter_async_context(AsyncExitStack())
            rig.picker_away = router.aclose
            rig.running = await router.enter_async_context(
                running(rig.settings, rig.cluster, rig.watches, rig.reviewer)
            )
            await start_envoy(listen, yaml.safe_dump(bootstrap(rig.settings)), tmp_path, stack)
            return rig

        yield make


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    return await make_rig()
