"""Watches ledgers and bound pods and counts every state in which something is sold twice; asks nobody of ours."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from types import TracebackType
from typing import Any

from bench.real.audit import oversold
from ingle_core.ledger import Ledger
from ingle_kit.kube import Kube
from ingle_kit.names import ANNOTATION_GPUS, ANNOTATION_PLACEMENT, GPU_NODE, POD
from ingle_kit.watch import Key, Reflector

Held = tuple[str, tuple[str, ...], int]


class Witness:
    """`ledgers_oversold`: ledger states whose claims exceed memory or watts. `gpus_oversold`: moments at which the
    pods bound to a GPU, by their annotations, need more than it has. Both stay 0. `async with` runs the watches.
    """

    def __init__(self, kube: Kube, allocatable_mib: int) -> None:
        self._ledgers = Reflector(kube, GPU_NODE, decode=_spec, on_change=self._ledger_changed)
        self._pods = Reflector(kube, POD, decode=_held, namespace="default", on_change=self._pod_changed)
        self._allocatable_mib = allocatable_mib
        self._on_gpu_mib: defaultdict[str, int] = defaultdict(int)
        self._tasks: list[asyncio.Task[None]] = []
        self.ledgers_seen = self.ledgers_oversold = self.gpus_oversold = 0

    async def __aenter__(self) -> Witness:
        self._tasks = [asyncio.create_task(one.run()) for one in (self._ledgers, self._pods)]
        async with asyncio.timeout(30):
            await self._ledgers.synced.wait()
            await self._pods.synced.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ledger_changed(self, key: Key, old: Ledger | None, new: Ledger | None) -> None:
        if new is not None:
            self.ledgers_seen += 1
            self.ledgers_oversold += oversold(new) > 0

    def _pod_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        for sign, held in ((-1, old), (1, new)):
            if held is None:
                continue
            _, gpus, memory_mib = held
            for gpu in gpus:
                self._on_gpu_mib[gpu] += sign * memory_mib
                self.gpus_oversold += sign > 0 and self._on_gpu_mib[gpu] > self._allocatable_mib


def _spec(obj: dict[str, Any]) -> Ledger:
    return Ledger.from_dict(obj["spec"])


def _held(obj: dict[str, Any]) -> Held:
    """Node, GPUs and MiB on each of a pod; no GPUs while it is not bound."""
    told = obj["metadata"].get("annotations") or {}
    node = obj["spec"].get("nodeName", "")
    gpus = tuple(told[ANNOTATION_GPUS].split(",")) if node and told.get(ANNOTATION_GPUS) else ()
    ask = json.loads(told.get(ANNOTATION_PLACEMENT, "{}"))
    return node, gpus, int(ask.get("memoryMiB", {}).get("awake", 0))
