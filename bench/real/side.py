"""One extender inside this process that can die at any moment, as by kill -9, and start again with an empty memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from ingle_extender.extender import Extender
from ingle_extender.settings import Settings
from ingle_extender.wire import BindArgs, FilterArgs, Pod
from ingle_kit.kube import Kube

T = TypeVar("T")


class Side:
    """Calls reach it as they would over HTTP; one that is cut off gives None, and may have had its effect."""

    def __init__(self, kubeconfig: str, settings: Settings) -> None:
        self._kubeconfig, self._settings = kubeconfig, settings
        self._kube: Kube | None = None
        self._extender: Extender | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self.kills = 0

    async def start(self) -> None:
        """Returns when its caches are filled."""
        self._kube = Kube.connect(user_agent="side", kubeconfig=self._kubeconfig)
        extender = Extender(self._kube, self._settings)
        for watch in extender.watches():
            self._spawn(watch)
        if not await extender.wait_synced(60.0):
            raise TimeoutError("extender has not read the cluster within 60 s")
        self._extender = extender

    async def kill(self) -> None:
        """Everything that runs in it stops where it stands, and what it knew is gone."""
        self._extender = None
        self.kills += 1
        running, self._running = self._running, set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._kube is not None:
            await self._kube.close()

    def filter(self, pod: dict[str, Any], names: Sequence[str]) -> str | None:
        """The node chosen; None when there is none, or nobody answers."""
        if self._extender is None:
            return None
        args = FilterArgs(msgspec.convert(pod, Pod), tuple(names))
        found = self._extender.filtering.filter(args).node_names
        return found[0] if found else None

    async def bind(self, args: BindArgs, *, cut_after_s: float | None = None) -> str | None:
        """The error text, empty when bound; None when the call was cut off before it answered."""
        if self._extender is None:
            return None
        return await self._cut(self._extender.binding.bind(args), cut_after_s)

    async def _cut(self, call: Coroutine[Any, Any, T], after_s: float | None) -> T | None:
        task = self._spawn(call)
        done, _ = await asyncio.wait([task], timeout=after_s)
        if not done:
            task.cancel()
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    def _spawn(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(call)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
