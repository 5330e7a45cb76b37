"""The newest measurement, and those who follow it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from ingle_agent.loop import Snapshot
from ingle_agent.measure import Sender, measurement, worth_sending
from ingle_kit.streams import Measurement

READERS_MAX = 16


class TooManyReaders(Exception):
    """More streams than an agent serves; the operator needs one for each of its replicas."""


class Hub:
    """Lives in the event loop. A slow reader skips to the newest message; nothing is queued."""

    def __init__(self, sender: Sender, *, memory_mib: int, beat_s: float, deadline_s: float) -> None:
        self._sender, self._memory_mib, self._beat_s, self._deadline_s = (
            sender,
            memory_mib,
            beat_s,
            deadline_s,
        )
        self._sequence = 0
        self._changed = asyncio.Event()
        self._encoder = msgspec.json.Encoder()
        self.snapshot: Snapshot | None = None
        self.readers = 0
        self.taken_at_s = time.monotonic()

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._changed.set()
        self._changed = asyncio.Event()

    def silent_s(self) -> float:
        """Seconds since a reader last took a message, or since start. Safe to call from any thread."""
        return time.monotonic() - self.taken_at_s

    def reading_age_s(self) -> float:
        """Seconds since the GPUs were read; infinite before the first time."""
        return float("inf") if self.snapshot is None else time.monotonic() - self.snapshot.at_s

    def measurement(self) -> Measurement | None:
        """A fresh message, None before the first reading."""
        if self.snapshot is None:
            return None
        self._sequence += 1
        stale = self.reading_age_s() > self._deadline_s
        return measurement(self._sender, self.snapshot, self._sequence, time.time(), stale)

    def reader(self, closed: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Lines for one reader until `closed`. Raises TooManyReaders at once."""
        if self.readers >= READERS_MAX:
            raise TooManyReaders
        return self._lines(closed)

    async def _lines(self, closed: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.readers += 1
        try:
            sent: Measurement | None = None
            sent_at_s = 0.0
            while not closed():
                new = self.measurement()
                left_s = sent_at_s + self._beat_s - time.monotonic()
                if new is not None and (left_s <= 0 or worth_sending(sent, new, self._memory_mib)):
                    yield self._encoder.encode(new) + b"\n"
                    sent, sent_at_s, left_s = new, time.monotonic(), self._beat_s
                    self.taken_at_s = sent_at_s
                    continue
                await self._wait(left_s if new is not None else self._beat_s)
        finally:
            self.readers -= 1

    async def _wait(self, seconds: float) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(max(0.001, seconds)):
                await changed.wait()
        except TimeoutError:
            return
