"""One engine of the site: vLLM's HTTP surface, and what may be wrong with it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from ingle_kit.objects import timestamp

GPU_MIB, RESERVED_MIB = 80000, 500
AWAKE_MIB, ASLEEP_MIB = 40000, 1500
NET = 64 + os.getpid() % 180


def now() -> str:
    return timestamp(time.time())


@dataclass
class Engine:
    """What a test may see of an engine, and what may be wrong with it: see `Site.faults`."""

    uid: str
    pool: str
    node: str
    gpus: tuple[str, ...]
    address: str
    asleep: bool = False
    running: int = 0
    asked: int = 0
    calls: list[str] = field(default_factory=list)
    runner: web.AppRunner | None = None

    @property
    def memory_mib(self) -> int:
        return ASLEEP_MIB if self.asleep else AWAKE_MIB


def routes_of(
    engine: Engine,
    fault: Callable[[], str | None],
    may_wake: asyncio.Event,
    more_running: Callable[[], int],
    changed: Callable[[], None],
) -> list[web.RouteDef]:
    """Its handlers. `fault` names the path that fails (No/sleep, No/wake_up); no wake ends before `may_wake` is set."""

    async def is_sleeping(_: web.Request) -> web.Response:
        engine.asked += 1
        return web.json_response({"is_sleeping": engine.asleep})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            text=f'vllm:num_requests_running{{engine="0"}} {engine.running + more_running()}\n'
        )

    async def change(request: web.Request) -> web.Response:
        engine.calls.append(request.path)
        if fault() == f"No{request.path}":
            return web.Response(status=500)
        if request.path == "/wake_up":
            await may_wake.wait()
        engine.asleep = request.path == "/sleep"
        changed()
        return web.Response()

    async def complete(_: web.Request) -> web.Response:
        engine.calls.append("probe")
        return web.json_response({"choices": []}, status=503 if engine.asleep else 200)

    return [
        web.get("/is_sleeping", is_sleeping),
        web.get("/metrics", metrics),
        web.post("/sleep", change),
        web.post("/wake_up", change),
        web.post("/v1/completions", complete),
    ]
