"""What one process holds on its GPUs: memory and watts, given back when it ends, however it ends."""

import ctypes as c
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ingle_lab.gpu.native import MappedState, StateError, library


class OutOfMemory(RuntimeError):
    """A GPU has not that many free bytes."""


class Slot:
    """A process's share of a node's GPUs. Not safe between threads; a forked child needs its own."""

    def __init__(self, state_path: str | Path, uuids: Sequence[str]) -> None:
        """Claims a slot for this process on the GPUs or MIG instances `uuids`; nothing is held yet.

        Raises StateError for a bad state file or when all 256 slots are taken, ValueError for an unknown UUID or a
        GPU that is split into instances.
        """
        self._state = MappedState(state_path)
        try:
            self._gpus = _indices(self._state, uuids)
            self._mask = sum(1 << index for index in self._gpus)
            self._owner = c.c_uint64()
            self._pid = os.getpid()
            self._index = library().ingle_lab_gpu_claim(self._state.address, self._pid, c.byref(self._owner))
            if self._index < 0:
                raise StateError(f"GPU state {state_path}: all slots are taken by living processes")
        except BaseException:
            self._state.close()
            raise

    def hold(self, memory_bytes_per_gpu: int) -> None:
        """Holds so many bytes on each GPU instead of what was held before; less always works.

        Raises OutOfMemory when a GPU has not that much free; then nothing has changed.
        """
        if memory_bytes_per_gpu < 0:
            raise ValueError(f"cannot hold {memory_bytes_per_gpu} bytes")
        full = library().ingle_lab_gpu_hold(self._address(), self._index, self._mask, memory_bytes_per_gpu)
        if full >= 0:
            raise OutOfMemory(self._out_of_memory(full, memory_bytes_per_gpu))

    def draw(self, busy_w_per_gpu: float) -> None:
        """Draws so many watts on each GPU beyond its idle draw, from now on."""
        if not 0 <= busy_w_per_gpu < 1e6:
            raise ValueError(f"cannot draw {busy_w_per_gpu} W")
        library().ingle_lab_gpu_draw(self._address(), self._index, self._mask, round(busy_w_per_gpu * 1000))

    def close(self) -> None:
        """Gives memory and watts back. Safe to call twice, and in a forked child (there it gives back nothing)."""
        if self._index >= 0 and os.getpid() == self._pid:
            library().ingle_lab_gpu_release(self._state.address, self._index, self._owner)
        self._index = -1
        self._state.close()

    def _address(self) -> int:
        if self._index < 0 or os.getpid() != self._pid:
            raise StateError("this slot is closed, or belongs to the process that this one was forked from")
        return self._state.address

    def _out_of_memory(self, gpu: int, wanted_bytes: int) -> str:
        cells = self._state.cells
        shape = cells.gpus[gpu]
        mine = cells.slots[self._index].memory_bytes[gpu]
        free = shape.memory_total_bytes - shape.memory_reserved_bytes - self._state.used_bytes(gpu) + mine
        return f"{shape.uuid.decode()}: {wanted_bytes} bytes wanted, {free} free"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _indices(state: MappedState, uuids: Sequence[str]) -> list[int]:
    known = state.uuids()
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing or not uuids:
        raise ValueError(f"no such GPU in {state.path}: {', '.join(missing) or 'none named'}")
    found = sorted({known.index(uuid) for uuid in uuids})
    split = {part.parent - 1 for part in state.cells.gpus[: len(known)] if part.parent}
    if split & set(found):
        raise ValueError(f"{known[min(split & set(found))]} is split by MIG: name one of its instances")
    return found
