"""One engine of the site: vLLM's or SGLang's HTTP surface, and what may be wrong with it."""

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
PARTS = frozenset({"weights", "kv_cache"})


def now() -> str:
    return timestamp(time.time())


@dataclass
class Engine:
    """What a test may see of an engine, and what may be wrong with it: see `Site.faults`.

    `parts`: what of it sleeps. `level`: of its last sleep. `good`: its weights are what they should be. `dead`: SGLang's
    scheduler has ended, because it was told what it does not bear. `slow_s`: added to each answer of the model.
    """

    uid: str
    pool: str
    node: str
    gpus: tuple[str, ...]
    address: str
    parts: set[str] = field(default_factory=set)
    level: int = 1
    good: bool = True
    dead: bool = False
    slow_s: float = 0.0
    running: int = 0
    asked: int = 0
    calls: list[str] = field(default_factory=list)
    runner: web.AppRunner | None = None

    @property
    def asleep(self) -> bool:
        return bool(self.parts)

    @asleep.setter
    def asleep(self, asleep: bool) -> None:
        self.parts = set(PARTS) if asleep else set()
        self.good = self.good or not asleep

    @property
    def memory_mib(self) -> int:
        return ASLEEP_MIB if self.parts == PARTS else AWAKE_MIB

    def sleep(self, level: int) -> None:
        self.level, self.parts, self.good = level, set(PARTS), level == 1

    def note(self, call: str) -> None:
        """Probes come in numbers: those in a row are noted once."""
        if self.calls[-1:] != [call] or call != "probe":
            self.calls.append(call)


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
        engine.note(request.path_qs.removesuffix("?level=1"))
        if fault() == f"No{request.path}":
            return web.Response(status=500)
        if request.path == "/wake_up":
            await may_wake.wait()
            engine.parts -= set(request.query.getall("tags", list(PARTS)))
        elif request.path == "/sleep":
            engine.sleep(int(request.query.get("level", "1")))
        elif request.path == "/collective_rpc":
            assert (await request.json()) == {"method": "reload_weights"}
            engine.good = "weights" not in engine.parts
        changed()
        return web.Response()

    async def complete(_: web.Request) -> web.Response:
        engine.note("probe")
        await asyncio.sleep(engine.slow_s)
        return web.json_response({"choices": []}, status=503 if engine.asleep or not engine.good else 200)

    return [
        web.get("/is_sleeping", is_sleeping),
        web.get("/metrics", metrics),
        web.post("/sleep", change),
        web.post("/wake_up", change),
        web.post("/collective_rpc", change),
        web.post("/reset_prefix_cache", change),
        web.post("/v1/completions", complete),
        *sglang_routes_of(engine, fault, more_running, changed),
    ]


def sglang_routes_of(
    engine: Engine,
    fault: Callable[[], str | None],
    more_running: Callable[[], int],
    changed: Callable[[], None],
) -> list[web.RouteDef]:
    """SGLang's own: no word of whether it sleeps, and an end to an engine that is told the same twice."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=503 if engine.dead else 200)

    async def flush(_: web.Request) -> web.Response:
        engine.note("/flush_cache")
        return web.Response(status=400 if engine.running + more_running() else 200)

    async def occupy(request: web.Request) -> web.Response:
        tags = set((await request.json())["tags"])
        engine.note(f"{request.path} {','.join(sorted(tags))}")
        if fault() == f"No{request.path}":
            return web.Response(status=400)
        releases = request.path == "/release_memory_occupation"
        if tags & engine.parts if releases else not tags <= engine.parts:
            engine.dead = True
            raise web.HTTPInternalServerError
        if releases:
            engine.parts |= tags
        else:
            engine.parts -= tags
        changed()
        return web.json_response(None)

    async def model(_: web.Request) -> web.Response:
        return web.json_response({"model_path": "/weights/m"})

    async def read_weights(request: web.Request) -> web.Response:
        assert (await request.json()) == {"model_path": "/weights/m"}
        engine.note("/update_weights_from_disk")
        return web.json_response({"success": True, "message": "", "num_paused_requests": 0})

    return [
        web.get("/health", health),
        web.post("/flush_cache", flush),
        web.post("/release_memory_occupation", occupy),
        web.post("/resume_memory_occupation", occupy),
        web.get("/model_info", model),
        web.post("/update_weights_from_disk", read_weights),
    ]
