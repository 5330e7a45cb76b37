"""A watch of pods that notes when each was bound and when it was first refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ingle_kit.kube import Kube
from ingle_kit.names import ANNOTATION_GPUS, POD
from ingle_kit.watch import Key, Reflector


@dataclass(frozen=True)
class PodSeen:
    """A pod as the API server has it. `refusal`: reason and message while PodScheduled is False."""

    name: str
    uid: str
    node: str
    gpus: tuple[str, ...]
    refusal: tuple[str, str] | None

    @classmethod
    def of(cls, obj: dict[str, Any]) -> PodSeen:
        metadata, told = obj["metadata"], None
        for condition in obj.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                told = (condition.get("reason", ""), condition.get("message", ""))
        text = (metadata.get("annotations") or {}).get(ANNOTATION_GPUS, "")
        gpus = tuple(text.split(",")) if text else ()
        return cls(metadata["name"], metadata["uid"], obj["spec"].get("nodeName", ""), gpus, told)


class PodWatch:
    """Times are those of `time.monotonic()` when the event was read. `async with` runs the watch."""

    def __init__(self, kube: Kube) -> None:
        self._reflector = Reflector(kube, POD, decode=PodSeen.of, namespace="default", on_change=self._seen)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.pods: dict[str, PodSeen] = {}
        self.bound_at_s: dict[str, float] = {}
        self.refused_at_s: dict[str, float] = {}

    async def __aenter__(self) -> PodWatch:
        self._task = asyncio.create_task(self._reflector.run())
        async with asyncio.timeout(30):
            await self._reflector.synced.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def bound(self, names: Collection[str]) -> list[str]:
        return [name for name in names if name in self.bound_at_s]

    def refused(self, names: Collection[str]) -> list[str]:
        """Those that are told at this moment that they fit nowhere."""
        return [n for n in names if n in self.pods and self.pods[n].refusal and n not in self.bound_at_s]

    async def until(self, check: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Waits for a state of these pods. Raises TimeoutError that says what did not come."""
        try:
            async with asyncio.timeout(timeout_s):
                while not check():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}") from None

    async def until_bound(self, names: Collection[str], timeout_s: float) -> None:
        """Waits until all are bound."""

        def all_bound() -> bool:
            return len(self.bound(names)) == len(names)

        try:
            await self.until(all_bound, f"{len(names)} pods bound", timeout_s)
        except TimeoutError as error:
            left = [n for n in names if n not in self.bound_at_s]
            told = {self.pods[n].refusal for n in left if n in self.pods}
            raise TimeoutError(f"{error}; {len(left)} are not: {sorted(map(str, told))[:3]}") from None

    def _seen(self, key: Key, old: PodSeen | None, new: PodSeen | None) -> None:
        now_s = time.monotonic()
        name = key[1]
        if new is None or (old is not None and old.uid != new.uid):
            for notes in (self.pods, self.bound_at_s, self.refused_at_s):
                notes.pop(name, None)
        if new is not None:
            self.pods[name] = new
            if new.node:
                self.bound_at_s.setdefault(name, now_s)
            elif new.refusal:
                self.refused_at_s.setdefault(name, now_s)
        self._changed.set()
