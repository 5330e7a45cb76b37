"""The queue of keys: deduplicated, one run at a time per key, bounded pauses after errors."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping

Key = tuple[str, str]

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 60.0
EVENT_PAUSE_MAX_S = 2.0  # what failed may have been mended by what has just happened

log = logging.getLogger(__name__)


def pause_after_s(failures: int) -> float:
    """Pause after the n-th failure in a row, without jitter: doubled each time, at most a minute."""
    return float(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 12)))


class KeyedSlots:
    """A semaphore for each topic, made when it is first asked for."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number
        self._semaphores: dict[str, asyncio.Semaphore] = {}

    def of(self, topic: str) -> asyncio.Semaphore:
        if topic not in self._semaphores:
            self._semaphores[topic] = asyncio.Semaphore(self._number(topic))
        return self._semaphores[topic]


class KeyQueue:
    """Runs `work(key)` for each added key, at most `workers` keys of a topic at once (`slots`: other numbers by topic).

    Adding a key that waits does nothing; adding one that runs makes it run once more. `work` returns the seconds
    after which it wants to run again, or None. An exception runs the key again after an exponential pause with
    jitter; one that is added meanwhile waits for its end too, but no longer than `EVENT_PAUSE_MAX_S`.
    """

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int,
        slots: Mapping[str, int] | None = None,
    ) -> None:
        self._work = work
        numbers = slots or {}
        self._slots = KeyedSlots(lambda topic: numbers.get(topic, workers))
        self._added_at_s: dict[Key, float] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._not_before_s: dict[Key, float] = {}  # by the loop's clock, of keys that failed last
        self._closed = False

    def add(self, key: Key) -> None:
        """Call from the loop's own thread."""
        if self._closed:
            return
        pause_s = self._not_before_s.get(key, 0.0) - asyncio.get_running_loop().time()
        if pause_s > 0:
            self.add_after(key, pause_s)
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._added_at_s.setdefault(key, time.monotonic())
        if key not in self._running:
            self._running[key] = asyncio.get_running_loop().create_task(self._run(key), name=f"key {key}")

    def add_after(self, key: Key, delay_s: float) -> None:
        """Adds the key later; the earlier of two timers wins."""
        loop = asyncio.get_running_loop()
        old = self._timers.get(key)
        if old is not None and old.when() <= loop.time() + delay_s:
            return
        if old is not None:
            old.cancel()
        self._timers[key] = loop.call_later(delay_s, self._due, key)

    def oldest_s(self) -> float:
        """Age of the key that waits or runs longest, 0 when idle."""
        return time.monotonic() - min(self._added_at_s.values()) if self._added_at_s else 0.0

    def idle(self) -> bool:
        """Nothing runs or waits; timers may be set."""
        return not self._added_at_s and not self._running

    def depth(self) -> int:
        return len(self._added_at_s)

    async def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _run(self, key: Key) -> None:
        try:
            while key in self._added_at_s:
                async with self._slots.of(key[0]):
                    del self._added_at_s[key]
                    await self._attempt(key)
                # One that adds itself without waiting for anything leaves others their turn.
                await asyncio.sleep(0)
        finally:
            self._running.pop(key, None)
            if key in self._added_at_s and not self._closed:
                self.add(key)

    async def _attempt(self, key: Key) -> None:
        try:
            again_s = await self._work(key)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            pause_s = pause_after_s(count) * random.uniform(0.8, 1.2)
            log.warning("%s: %s: %s; again in %.1f s", "/".join(key), type(error).__name__, error, pause_s)
            self._pause(key, pause_s)
            return
        self._failures.pop(key, None)
        self._not_before_s.pop(key, None)
        if again_s is not None:
            self.add_after(key, again_s)

    def _pause(self, key: Key, pause_s: float) -> None:
        """After a failure; one that was added while it ran is as one added during the pause."""
        event_s = min(pause_s, EVENT_PAUSE_MAX_S)
        self._not_before_s[key] = asyncio.get_running_loop().time() + event_s
        added = self._added_at_s.pop(key, None) is not None
        self.add_after(key, event_s if added else pause_s)
