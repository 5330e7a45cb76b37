"""Trouble on request: what POST /lab/fault can do to an engine."""

import asyncio
import os
from typing import Literal

import msgspec

Kind = Literal["crash", "hang", "fail_wake", "keep_memory_after_sleep", "slow", "compile", "clear"]
CRASH_EXIT_CODE = 134  # as a process that aborted


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """`seconds` (real ones) for hang, 0 means until `clear`; `times` for fail_wake, and for compile: so many of the next
    requests take as long as a first one; `mib` per GPU for keep_memory_after_sleep; `factor` for slow, 1 is normal."""

    kind: Kind
    seconds: float = 0.0
    times: int = 1
    mib: int = 4096
    factor: float = 5.0


class Faults:
    """What is wrong with this engine now."""

    def __init__(self) -> None:
        self.wake_failures_left = 0
        self.kept_mib = 0
        self._well = asyncio.Event()
        self._well.set()
        self._release: asyncio.TimerHandle | None = None

    @property
    def hanging(self) -> bool:
        return not self._well.is_set()

    async def passed(self) -> None:
        """Returns at once, or when the engine stops hanging."""
        await self._well.wait()

    def crash(self) -> None:
        os._exit(CRASH_EXIT_CODE)

    def hang(self, seconds: float) -> None:
        self._stop_release()
        self._well.clear()
        if seconds > 0:
            self._release = asyncio.get_running_loop().call_later(seconds, self._well.set)

    def clear(self) -> None:
        self.wake_failures_left = self.kept_mib = 0
        self._stop_release()
        self._well.set()

    def take_wake_failure(self) -> bool:
        """Whether this wake must fail; counts it."""
        if self.wake_failures_left <= 0:
            return False
        self.wake_failures_left -= 1
        return True

    def _stop_release(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
