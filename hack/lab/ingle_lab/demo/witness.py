"""Watches the whole time: enforced limits against the cap, used memory against the ledger.

A reading at one moment and an object read at another can be compared only with what the object was *around* that
moment: a reading breaks a rule if it breaks it against every value that the object had within `AROUND_S`, or, while
the API server could not be asked, until the watches have caught up. While it takes longer than `AROUND_S` to answer, or
this process to take its turn, values are heard that much later.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingle_kit.kube import Kube, KubeError, Object
from ingle_kit.names import GPU_NODE, POWER_BUDGET
from ingle_kit.streams import MIB
from ingle_kit.watch import Reflector

PERIOD_S = 0.1
AROUND_S = 0.3
SETTLE_S = 1.0
CATCH_UP_S = 6.0  # a watch that was cut is back within its longest pause
ASK_S = 0.5
OUTAGES_MAX = 100


@dataclass
class Counts:
    """What was seen: readings compared, and how many broke a rule."""

    budget_samples: int = 0
    budget_violations: int = 0
    oversold_samples: int = 0
    memory_samples: int = 0
    worst: list[str] = field(default_factory=list)


class WitnessError(Exception):
    """A reader or the judge ended early, so that counts of zero would mean nothing."""


def _fault(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    return f"{type(error).__name__}: {error}" if error else "a reader of NVML ended"


class Witness:
    """Start it with the nodes' environments; it follows the API and NVML until stopped."""

    def __init__(self, kube: Kube, environments: dict[str, dict[str, str]], host_w: int) -> None:
        self._environments, self._host_w = environments, host_w
        self._caps: deque[tuple[float, int]] = deque(maxlen=10_000)
        self._claims: dict[str, deque[tuple[float, int]]] = {}
        self._rows: deque[tuple[str, dict[str, Any]]] = deque(maxlen=100_000)
        self._budgets = Reflector(kube, POWER_BUDGET, decode=lambda obj: obj, on_change=self._budget_changed)
        self._ledgers = Reflector(kube, GPU_NODE, decode=lambda obj: obj, on_change=self._ledger_changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._last: dict[str, dict[str, Any]] = {}
        self._kube = kube
        self._cut_at_s: float | None = None
        self._asked_s = float("inf")
        self._outages: deque[tuple[float, float]] = deque(maxlen=OUTAGES_MAX)
        self.counts = Counts()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(r.run()) for r in (self._budgets, self._ledgers)]
        for reflector in (self._budgets, self._ledgers):
            await reflector.synced.wait()
        for node, environment in self._environments.items():
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__).with_name("nvml_sampler.py")),
                str(PERIOD_S),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
            )
            self._processes.append(process)
            self._tasks.append(loop.create_task(self._read(node, process)))
        self._tasks += [loop.create_task(self._judge()), loop.create_task(self._ask_server())]

    async def stop(self) -> None:
        """Judges what is left, then ends its processes. Raises WitnessError where a part of it had ended by itself."""
        await asyncio.sleep(SETTLE_S + 3 * PERIOD_S)
        faults = [_fault(task) for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_processes()
        if faults:
            raise WitnessError(f"the witness did not see everything: {'; '.join(faults)}")

    async def _end_processes(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def latest(self, node: str) -> dict[str, Any]:
        """The node's last reading."""
        return self._last.get(node, {})

    def used_mib(self, uuid: str) -> int:
        """GPU memory in use as NVML says, MiB."""
        for row in self._last.values():
            if uuid in row["uuids"]:
                return int(row["used"][row["uuids"].index(uuid)] or 0) // MIB
        return 0

    def _budget_changed(self, key: Any, old: Object | None, new: Object | None) -> None:
        cap_w = ((new or {}).get("status") or {}).get("capWatts")
        if cap_w is not None and (not self._caps or self._caps[-1][1] != cap_w):
            self._caps.append((time.time(), int(cap_w)))

    def _ledger_changed(self, key: Any, old: Object | None, new: Object | None) -> None:
        for gpu in (new or {}).get("spec", {}).get("gpus") or ():
            held = self._claims.setdefault(gpu["uuid"], deque([(time.time(), 0)], maxlen=5_000))
            claimed = sum(c["memoryMiB"] for c in gpu["claims"])
            if not held or held[-1][1] != claimed:
                held.append((time.time(), claimed))

    async def _read(self, node: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            row = json.loads(line)
            self._last[node] = row
            self._rows.append((node, row))

    async def _ask_server(self) -> None:
        """Notes when the API server could not be asked."""
        while True:
            asked_s = self._asked_s = time.time()
            try:
                await self._kube.list(POWER_BUDGET)
            except KubeError:
                self._cut_at_s = self._cut_at_s or asked_s - ASK_S
            else:
                if self._cut_at_s is not None:
                    self._outages.append((self._cut_at_s, time.time() + CATCH_UP_S))
                    self._cut_at_s = None
                elif time.time() - asked_s > AROUND_S:
                    self._outages.append((asked_s - ASK_S, time.time()))
            self._asked_s = float("inf")
            await asyncio.sleep(ASK_S)

    def _known_at_s(self, row: dict[str, Any]) -> float:
        """When every value that the objects had during a reading has been heard; infinite: not yet known."""
        until_s = float(row["until_s"])
        if self._cut_at_s is not None and until_s >= self._cut_at_s - AROUND_S:
            return float("inf")
        if time.time() - self._asked_s > AROUND_S and until_s >= self._asked_s - ASK_S - AROUND_S:
            return float("inf")
        late = [end_s for start_s, end_s in self._outages if start_s - AROUND_S <= until_s <= end_s]
        return max(late, default=until_s)

    async def _judge(self) -> None:
        """Compares a reading once later values of the objects had time to arrive."""
        while True:
            slept_s = time.time()
            await asyncio.sleep(PERIOD_S)
            if time.time() - slept_s > PERIOD_S + AROUND_S:
                self._outages.append((slept_s, time.time()))
            while self._rows and self._known_at_s(self._rows[0][1]) < time.time() - SETTLE_S:
                node, row = self._rows.popleft()
                row["known_at_s"] = self._known_at_s(row)
                self._judge_memory(node, row)
                if node == min(self._environments):
                    self._judge_watts(row)

    def _judge_memory(self, node: str, row: dict[str, Any]) -> None:
        for uuid, used in zip(row["uuids"], row["used"], strict=True):
            if used is None:
                continue
            self.counts.memory_samples += 1
            claimed = most_around(self._claims.get(uuid, ()), row["at_s"], row["known_at_s"])
            if used // MIB > (claimed or 0):
                self.counts.oversold_samples += 1
                self._note(f"{_clock(row)} {node} {uuid}: {used // MIB} MiB used, {claimed or 0} MiB claimed")

    def _judge_watts(self, row: dict[str, Any]) -> None:
        if len(self._last) < len(self._environments):
            return
        cap_w = most_around(self._caps, row["at_s"], row["known_at_s"])
        if cap_w is None:
            return
        self.counts.budget_samples += 1
        rows = [self._nearest(node, row["at_s"]) for node in self._environments]
        total_w = sum(sum(r["enforced_w"]) for r in rows) + self._host_w * len(rows)
        if total_w > cap_w + 0.5:
            self.counts.budget_violations += 1
            self._note(f"{_clock(row)} limits and hosts {total_w:.0f} W, cap {cap_w} W")

    def _nearest(self, node: str, at_s: float) -> dict[str, Any]:
        rows = [row for name, row in self._rows if name == node] or [self._last[node]]
        return min(rows, key=lambda row: abs(row["at_s"] - at_s))

    def _note(self, text: str) -> None:
        if len(self.counts.worst) < 20:
            self.counts.worst.append(text)


def _clock(row: dict[str, Any]) -> str:
    return time.strftime("%H:%M:%S", time.localtime(row["at_s"]))


def most_around(history: Any, from_s: float, until_s: float) -> int | None:
    """The largest value that held at some moment within `AROUND_S` of the interval; None before the first."""
    best: int | None = None
    before: int | None = None
    for at_s, value in history:
        if at_s < from_s - AROUND_S:
            before = value
        elif at_s <= until_s + AROUND_S:
            best = value if best is None else max(best, value)
    if before is not None:
        best = before if best is None else max(best, before)
    return best
