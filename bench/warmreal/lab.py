"""The lab for these benchmarks: three nodes of eight H100s (simulated), pools, a client, the witness."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console

from bench.parts import Progress
from bench.warmreal.load import Ask
from bench.warmreal.moves import Moves
from bench.warmreal.pools import model_of
from ingle_kit.kube import Object
from ingle_kit.names import GPU_NODE, INFERENCE_POOL
from ingle_kit.watch import Reflector
from ingle_lab.controlplane import Settings
from ingle_lab.demo.clients import Answer, Client
from ingle_lab.demo.scene import NAMESPACE, Scene, make_clients, start_witness
from ingle_lab.demo.witness import Counts
from ingle_lab.stack import LabNode, Stack
from ingle_lab.stack.objects import apply, apply_files
from ingle_lab.stack.stack import ROOT

NODES = tuple(LabNode(f"gpu-{number}", "h100x8") for number in (1, 2, 3))
BASE = int(os.environ.get("BENCH_BASE", "80"))  # of the nodes' addresses: 127.80.0.1 and so on
KEEP = "BENCH_LAB"
PROGRESS_S = 15.0
OUTCOMES = ("hot", "woken", "cold")


@dataclass
class Lab:
    """One running lab and what is looked at in it."""

    scene: Scene
    tell: Progress
    moves: Moves = field(default_factory=Moves)

    @property
    def client(self) -> Client:
        return self.scene.clients["team"]

    @property
    def witnessed(self) -> Counts:
        assert self.scene.witness is not None
        return self.scene.witness.counts

    async def apply(self, pools: Iterable[Object]) -> None:
        for pool in pools:
            await apply(self.scene.stack.api, pool)

    async def asleep(self, names: Sequence[str], timeout_s: float) -> None:
        """Waits until each of the pools has one engine, asleep, and nothing else is in the ledgers."""
        await self.until(
            f"{len(names)} sleepers", lambda: self.moves.states() == {"Asleep": len(names)}, timeout_s
        )

    async def pools_read(self) -> None:
        """Waits until the operator has seen every pool as it is now."""

        async def read() -> bool:
            items, _ = await self.scene.stack.api.list(INFERENCE_POOL, NAMESPACE)
            return all(
                (one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"]
                for one in items
            )

        await self.scene.stack.wait_for("the operator to read the pools", read)

    async def gone(self, timeout_s: float) -> None:
        """Waits until no engine is left."""
        await self.until(
            "no engine", lambda: not self.moves.states() and not self.scene.pods.store, timeout_s
        )

    async def until(self, what: str, check: Callable[[], object], timeout_s: float) -> None:
        """As `Scene.until`, and tells how far it is."""
        told_s = time.monotonic()

        def look() -> bool:
            nonlocal told_s
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                self.tell(f"waiting for {what}: {dict(self.moves.states())}")
            return bool(check())

        await self.scene.until(what, look, timeout_s)

    async def send(self, asks: Sequence[Ask]) -> list[Answer]:
        """Every request at its time; returns all answers, in the order of the requests."""
        started_s = told_s = time.monotonic()
        tasks: list[asyncio.Task[Answer]] = []
        for ask in asks:
            await asyncio.sleep(max(0.0, ask.at_s - (time.monotonic() - started_s)))
            tasks.append(asyncio.create_task(self._one(ask)))
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                done = sum(task.done() for task in tasks)
                self.tell(f"{len(tasks)} of {len(asks)} sent, {done} answered; {dict(self.moves.states())}")
        return await asyncio.gather(*tasks)

    async def _one(self, ask: Ask) -> Answer:
        return await self.client.ask(
            model_of(ask.pool), tokens=ask.output_tokens, prompt_tokens=ask.prompt_tokens
        )

    async def outcomes(self) -> dict[str, int]:
        """How many requests the router has answered hot, woken and cold, by its own count."""
        found = dict.fromkeys(OUTCOMES, 0)
        async with self.scene.session.get(f"{self.scene.stack.router}/metrics") as reply:
            for line in (await reply.text()).splitlines():
                if line.startswith("ingle_router_requests_total"):
                    kind = line.partition('outcome="')[2].partition('"')[0]
                    found[kind] = found.get(kind, 0) + int(float(line.rsplit(" ", 1)[1]))
        return found


@asynccontextmanager
async def open_lab(time_scale: float, tell: Progress, **settings: str) -> AsyncIterator[Lab]:
    """A lab without pools, in a folder that is removed at the end unless BENCH_LAB names it."""
    named = os.environ.get(KEEP)
    folder = Path(named or tempfile.mkdtemp(prefix="ingle-bench-"))
    stack = Stack(
        folder,
        nodes=NODES,
        time_scale=time_scale,
        settings=settings,
        plane=Settings(ports="auto"),
        base=BASE,
        say=tell,
    )
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector) as session, stack:
            scene = Scene(stack, session, Console(file=sys.stderr, soft_wrap=True), time.time())
            await scene.watch()
            await apply_files(stack.api, [ROOT / "examples" / "namespace.yaml"])
            await make_clients(scene)
            await start_witness(scene)
            lab = Lab(scene, tell)
            async with _following(lab):
                yield lab
            await asyncio.sleep(1.5)  # the witness judges a reading a second later
            await scene.close()
    finally:
        if not named:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _following(lab: Lab) -> AsyncIterator[None]:
    """Feeds the ledgers to `lab.moves`."""
    ledgers: Reflector[Object] = Reflector(
        lab.scene.stack.api, GPU_NODE, decode=lambda obj: obj, on_change=lab.moves.ledger
    )
    task = asyncio.create_task(ledgers.run())
    await ledgers.synced.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
