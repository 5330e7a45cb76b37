"""Processor time that each process of the benchmark takes, from /proc: fair also where they share cores."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CLIENT = "client"
_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # of /proc/PID/stat, counted from the state, which follows the name in parentheses

CpuS = dict[str, float]
CpuMs = dict[str, float]


def cpu_s(pids: Mapping[str, int]) -> CpuS:
    """Since each process started, in steps of 10 ms; `client` is this one. OSError where one has ended."""
    return {name: _cpu_s(pid) for name, pid in pids.items()} | {CLIENT: time.process_time()}


def ms_a_pod(before: CpuS, after: CpuS, pods: int) -> CpuMs:
    """Milliseconds that each process took for one of `pods` pods between two readings."""
    return {name: 1000 * (after[name] - before[name]) / pods for name in after}


def middle(rounds: Sequence[CpuMs]) -> CpuMs:
    """The round in the middle by the sum over all processes: so the parts belong together."""
    return sorted(rounds, key=lambda one: sum(one.values()))[len(rounds) // 2]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_A_S
