"""An engine's life: load, awake, asleep, awake again; and what that takes of its GPUs."""

import asyncio
import logging
import time
from collections.abc import Sequence
from enum import Enum
from typing import Literal, Protocol

from ingle_lab.engine.batch import Batch
from ingle_lab.engine.faults import Faults
from ingle_lab.engine.metrics import Counters
from ingle_lab.engine.profile import MIB, Profile
from ingle_lab.engine.pump import Pump
from ingle_lab.gpu import OutOfMemory

log = logging.getLogger("ingle_lab.engine")

Mode = Literal["abort", "wait", "keep"]
TAGS = ("weights", "kv_cache")
IMPORT_SHARE, _READ_SHARE = 0.4, 0.3  # of the load time; the rest compiles
_CAPTURE_SHARE = 0.1  # of the load time, and of the rest: CUDA graphs, which no cache keeps (assumed)
_MAP_S = 0.1  # room for weights that are to be read again; only then do they cost time
_STEPS = 8


class State(Enum):
    LOADING = "loading"
    AWAKE = "awake"
    FALLING_ASLEEP = "falling asleep"
    ASLEEP = "asleep"
    WAKING = "waking up"


class WakeError(Exception):
    """The engine could not wake and is asleep as before; another try may work."""


class Gpu(Protocol):
    """The engine's share of its GPUs; amounts are per GPU and replace the ones before."""

    def hold(self, memory_bytes_per_gpu: int) -> None: ...
    def draw(self, busy_w_per_gpu: float) -> None: ...


class Life:
    """State of one engine. `sleep` and `wake` may be called at any time; they take turns."""

    def __init__(
        self,
        profile: Profile,
        gpu: Gpu,
        faults: Faults,
        counters: Counters,
        *,
        gpus: int,
        kv_bytes: int,
        seqs_max: int,
        time_scale: float,
    ) -> None:
        self.state = State.LOADING
        self.level = 0  # of the sleep it is in or goes to; 0 awake
        self.shown_level = 0  # what the gauge says: it changes when a transition is over, as vLLM's does
        self.host_backup_bytes = 0
        self.held_bytes = 0  # per GPU
        self._profile, self._gpu, self._faults, self._time_scale = profile, gpu, faults, time_scale
        self._weights = profile.weights_mib * MIB // gpus
        self._residue = profile.residue_mib * MIB
        self._kv = kv_bytes
        self.asleep_tags: set[str] = set()
        self.weights_good = True
        self._slept_before = False
        self._turn = asyncio.Lock()
        self.kv_tokens_max = kv_bytes * gpus // profile.kv_bytes_per_token
        self.batch = Batch(profile.speed, seqs_max, self.kv_tokens_max)
        self.batch.next_prefill_extra_s = profile.first_request_extra_s
        self.pump = Pump(self.batch, time_scale, counters, self._draw_for)

    async def load(self, compiled: bool = False, imported: bool = False) -> None:
        """From nothing to awake; `compiled`: a cache of an earlier start serves; `imported`: the imports are done, their
        time taken. Raises OutOfMemory.
        """
        load_s = self._profile.load_s
        await self._take(0.0 if imported else load_s * IMPORT_SHARE)
        self._hold(self._residue)
        self._gpu.draw(self._profile.loading_w)
        await self._ramp(self._residue + self._weights, load_s * _READ_SHARE)
        self._hold(self._residue + self._weights + self._kv)
        await self._take(load_s * (_CAPTURE_SHARE if compiled else 1 - IMPORT_SHARE - _READ_SHARE))
        self._become_awake()

    async def sleep(self, level: int, mode: Mode) -> None:
        """To sleep level 1 or 2. Asleep already: nothing happens."""
        async with self._turn:
            if self.state is not State.AWAKE:
                log.warning("already asleep at level %d", self.level)
                return
            started_at_s = time.monotonic()
            self.state, self.level = State.FALLING_ASLEEP, level
            await self._quiesce(mode)
            self._gpu.draw(self._profile.loading_w)
            self._hold(self._residue + self._weights)
            kept = min(self._faults.kept_mib * MIB, self._weights)
            await self._ramp(self._residue + kept, self._profile.sleep_s(level, not self._slept_before))
            self._slept_before = self._slept_before or level == 1
            self.host_backup_bytes = self._profile.weights_mib * MIB if level == 1 else 0
            self.asleep_tags = set(TAGS)
            self.weights_good = level == 1
            self._gpu.draw(0.0)
            self.state, self.shown_level = State.ASLEEP, level
            log.info("asleep at level %d after %.3f s", level, time.monotonic() - started_at_s)

    async def wake(self, tags: Sequence[str] = TAGS) -> None:
        """Wake the parts named; awake when none is left. Raises WakeError and sleeps on."""
        async with self._turn:
            wanted = self.asleep_tags & set(tags)
            if not wanted:
                log.warning("already awake: %s", ", ".join(tags))
                return
            started_at_s = time.monotonic()
            self.state = State.WAKING
            before = self.held_bytes
            try:
                await self._wake_parts(wanted)
            except (OutOfMemory, WakeError) as error:
                self._hold(before)
                self._gpu.draw(0.0)
                self.state = State.ASLEEP
                log.error("could not wake: %s", error)
                raise WakeError(str(error)) from error
            self.asleep_tags -= wanted
            if self.asleep_tags:
                self._gpu.draw(0.0)
                self.state = State.ASLEEP
                return
            self.host_backup_bytes = 0
            self._become_awake()
            self.pump.resume()
            log.info("awake after %.3f s", time.monotonic() - started_at_s)

    async def reload(self) -> None:
        """Reads the weights again into the room they have. Raises WakeError where they have none."""
        async with self._turn:
            if "weights" in self.asleep_tags or self.state is State.LOADING:
                raise WakeError("the weights have no memory: wake them first")
            self._gpu.draw(self._profile.loading_w)
            await self._take(max(0.0, self._profile.wake_l2_s - _MAP_S))
            self.weights_good = True
            self._gpu.draw(0.0)
            self._draw_for(self.batch.running_count)

    def compile_again(self, times: int) -> None:
        """The next `times` requests take as long as a first one."""
        self.batch.next_prefill_extra_s = self._profile.first_request_extra_s
        self.batch.extra_prefills = times

    async def _wake_parts(self, wanted: set[str]) -> None:
        self._gpu.draw(self._profile.loading_w)
        if "weights" in wanted:
            kv_held = 0 if "kv_cache" in self.asleep_tags else self._kv
            wake_s = self._profile.wake_l1_s if self.level == 1 else _MAP_S
            await self._ramp(self._residue + self._weights + kv_held, wake_s)
        if self._faults.take_wake_failure():
            raise WakeError(
                "CUDA error: an illegal memory access was encountered (a fault that was asked for)"
            )
        if "kv_cache" in wanted:
            weights_awake = "weights" in wanted or "weights" not in self.asleep_tags
            self._hold(self._residue + (self._weights if weights_awake else 0) + self._kv)

    async def _quiesce(self, mode: Mode) -> None:
        if mode == "abort":
            self.pump.abort_all("the engine goes to sleep (mode=abort)")
        elif mode == "wait":
            await self.pump.drained()
        self.pump.pause()

    def _become_awake(self) -> None:
        self.state, self.level, self.shown_level = State.AWAKE, 0, 0
        self._draw_for(self.batch.running_count)

    def _draw_for(self, running: int) -> None:
        if self.state in (State.AWAKE, State.FALLING_ASLEEP):
            self._gpu.draw(self._profile.running_w(running))

    async def _ramp(self, to_bytes: int, profile_s: float) -> None:
        """Change what is held in steps: room is taken before a part comes in, given up after it went out."""
        from_bytes = self.held_bytes
        for step in range(1, _STEPS + 1):
            next_bytes = from_bytes + (to_bytes - from_bytes) * step // _STEPS
            if next_bytes > from_bytes:
                self._hold(next_bytes)
            await self._take(profile_s / _STEPS)
            self._hold(next_bytes)

    def _hold(self, memory_bytes: int) -> None:
        self._gpu.hold(memory_bytes)
        self.held_bytes = memory_bytes

    async def _take(self, profile_s: float) -> None:
        await asyncio.sleep(profile_s * self._time_scale)
        await self._faults.passed()
