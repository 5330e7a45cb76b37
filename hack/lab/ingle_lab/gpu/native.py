"""The stand-in's own functions beside NVML's, called by ctypes: all writing goes through the one C file."""

import ctypes as c
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from ingle_lab.gpu.build import LIBRARY_NAME, build_library
from ingle_lab.gpu.layout import SIZES, Reading, State

_PREFIX = "ingle_lab_gpu_"
_PROBLEMS = {
    1: "cannot be opened; make it with `python -m ingle_lab.gpu create PATH --profile NAME`",
    2: "is not a GPU state file",
    3: "has another layout than this version of ingle_lab; create it again",
}


class StateError(RuntimeError):
    """The state file is missing or of another kind; the text says which."""


@cache
def library() -> c.CDLL:
    """The stand-in: from `LD_LIBRARY_PATH` where it is of our layout (a pod needs no compiler), else built."""
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        path = Path(folder) / LIBRARY_NAME
        if folder and path.exists():
            found = c.CDLL(str(path))
            if hasattr(found, f"{_PREFIX}layout") and _layout(found) == SIZES:
                return _typed(found)
    built = c.CDLL(str(build_library()))
    if _layout(built) != SIZES:
        raise StateError(f"layout.py and csrc/state.h differ: {SIZES} and {_layout(built)}")
    return _typed(built)


def _layout(found: c.CDLL) -> tuple[int, ...]:
    function = found[f"{_PREFIX}layout"]
    function.restype, function.argtypes = c.c_uint64, [c.c_uint]
    return tuple(function(index) for index in range(len(SIZES)))


def _typed(found: c.CDLL) -> c.CDLL:
    state = c.c_void_p
    signatures: dict[str, tuple[type | None, Sequence[type]]] = {
        "open": (c.c_int, [c.c_char_p, c.POINTER(c.c_void_p)]),
        "close": (None, [state]),
        "claim": (c.c_int, [state, c.c_uint32, c.POINTER(c.c_uint64)]),
        "hold": (c.c_int, [state, c.c_uint, c.c_uint32, c.c_uint64]),
        "draw": (None, [state, c.c_uint, c.c_uint32, c.c_uint64]),
        "release": (None, [state, c.c_uint, c.c_uint64]),
        "used": (c.c_uint64, [state, c.c_uint]),
        "read": (None, [state, c.c_uint, c.POINTER(Reading)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(found, _PREFIX + name)
        function.restype, function.argtypes = result, list(arguments)
    return found


class MappedState:
    """A state file mapped into this process. Use as a context manager, or close it."""

    def __init__(self, path: str | Path) -> None:
        """Raises StateError when `path` is missing or not a state file of this layout."""
        self.path = Path(path)
        address = c.c_void_p()
        code = library().ingle_lab_gpu_open(os.fsencode(self.path), c.byref(address))
        if code != 0:
            raise StateError(f"GPU state {self.path} {_PROBLEMS[code]}")
        self._address: int | None = address.value

    @property
    def address(self) -> int:
        if self._address is None:
            raise StateError(f"GPU state {self.path} is closed")
        return self._address

    @property
    def cells(self) -> State:
        return State.from_address(self.address)

    def uuids(self) -> list[str]:
        cells = self.cells
        return [cells.gpus[index].uuid.decode() for index in range(cells.gpu_count)]

    def used_bytes(self, gpu: int) -> int:
        """Memory that living processes hold on this GPU, without the driver's reserve."""
        return int(library().ingle_lab_gpu_used(self.address, gpu))

    def read(self, gpu: int) -> Reading:
        reading = Reading()
        library().ingle_lab_gpu_read(self.address, gpu, c.byref(reading))
        return reading

    def close(self) -> None:
        if self._address is not None:
            library().ingle_lab_gpu_close(self._address)
            self._address = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
