"""What a process and its children use, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STATE_FIELD = 3  # of /proc/PID/stat, counted from 1; the name before it, in parentheses, may hold anything
_USER_TICKS_FIELD, _SYSTEM_TICKS_FIELD = 14, 15


@dataclass(frozen=True)
class Usage:
    """Memory now, processor time since the start. `pss_mib` shares pages out among all processes that have them."""

    rss_mib: float = 0.0
    pss_mib: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.rss_mib + other.rss_mib, self.pss_mib + other.pss_mib, self.cpu_s + other.cpu_s)


def usage_of(pid: int, proc: Path = Path("/proc")) -> Usage:
    """Of the process and all below it. OSError where it has ended, or is another user's."""
    found = _own(proc / str(pid))
    return sum((usage_of(child, proc) for child in _children(proc / str(pid))), found)


def _own(folder: Path) -> Usage:
    sizes = _sizes_mib((folder / "smaps_rollup").read_text().splitlines())
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(fields[number - _STATE_FIELD]) for number in (_USER_TICKS_FIELD, _SYSTEM_TICKS_FIELD))
    return Usage(sizes["Rss"], sizes["Pss"], ticks / _TICKS_PER_S)


def _sizes_mib(lines: Iterable[str]) -> dict[str, float]:
    """`Rss:   1024 kB` gives {"Rss": 1.0}."""
    words = [line.split() for line in lines]
    return {one[0].rstrip(":"): int(one[1]) / 1024 for one in words if len(one) == 3 and one[2] == "kB"}


def _children(folder: Path) -> list[int]:
    found = [(task / "children").read_text() for task in (folder / "task").iterdir()]
    return [int(pid) for text in found for pid in text.split()]
