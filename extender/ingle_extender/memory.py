"""How this process keeps memory: nothing that a filter call waits for."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

YOUNG_MOST: Final = 10_000
"""Objects made before garbage is looked for among them, some 0.3 ms: Python's own 700 are made by every other call."""
FREED_KEPT_BYTES: Final = 256 * 1024 * 1024
MAPPED_FROM_BYTES: Final = 32 * 1024 * 1024  # the most that glibc takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed() -> None:
    """Freed memory stays with the process: each call makes arrays over all nodes, and where there are thousands, to get
    their pages from the kernel anew takes a third of it. Without glibc nothing changes."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
        mallopt(_TRIM_THRESHOLD, FREED_KEPT_BYTES)


def settle() -> None:
    """What is there now stays: a look for garbage among it would hold up a filter call for 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MOST, *gc.get_threshold()[1:])
