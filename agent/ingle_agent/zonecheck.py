"""Which pods keep their memory off the NUMA zone of their GPUs, from /proc/PID/numa_maps.

The kernel walks a process's page tables for that file and holds its memory map meanwhile, so one process is read at
a time, with a pause, and never in the thread that talks to the driver. It shows the file to the same user and to root
only: what cannot be read is not judged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ingle_agent.attached import zones_of_pods
from ingle_agent.loop import Snapshot

BYTES_MAX = 4 * 1024 * 1024
JUDGED_FROM_KIB = 64 * 1024
RIGHT_SHARE = 0.5
_PAGES = re.compile(r"\bN(\d+)=(\d+)")
_PAGE_SIZE = re.compile(r"\bkernelpagesize_kB=(\d+)")
_FILE = re.compile(r"\bfile=")


def kib_by_zone(numa_maps: str) -> dict[int, int]:
    """KiB of a process by zone. Pages of files are left out: they lie where somebody first read the file."""
    kib: dict[int, int] = {}
    for line in numa_maps.splitlines():
        size = _PAGE_SIZE.search(line)
        if size is None or _FILE.search(line):
            continue
        for zone, pages in _PAGES.findall(line):
            kib[int(zone)] = kib.get(int(zone), 0) + int(pages) * int(size.group(1))
    return kib


def is_wrong(kib: Mapping[int, int], zone: int) -> bool | None:
    """Less than `RIGHT_SHARE` lies on `zone`. None where there is too little to judge by."""
    total = sum(kib.values())
    return None if total < JUDGED_FROM_KIB else kib.get(zone, 0) < RIGHT_SHARE * total


class ZoneCheck:
    """Goes round the processes of pods that have GPUs of one zone; `wrong` holds the pods found elsewhere."""

    def __init__(
        self,
        proc_root: Path,
        *,
        pause_s: float,
        snapshot: Callable[[], Snapshot | None],
        on_change: Callable[[], None],
    ) -> None:
        self._root, self._pause_s = proc_root, pause_s
        self._snapshot, self._on_change = snapshot, on_change
        self._last_pid = 0
        self._verdicts: dict[int, tuple[str, bool]] = {}
        self.wrong: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Until cancelled. A pause of 0 s means never."""
        while self._pause_s:
            await asyncio.sleep(self._pause_s)
            await self.look()
        await asyncio.Event().wait()

    async def look(self) -> None:
        """Reads the next process and judges it."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        zones = zones_of_pods(snapshot.shapes, snapshot.ledger)
        pids = [pid for pid, uid in sorted(snapshot.pods.items()) if uid in zones]
        self._verdicts = {
            pid: known for pid, known in self._verdicts.items() if snapshot.pods.get(pid) == known[0]
        }
        if pids:
            pid = self._last_pid = _after(pids, self._last_pid)
            uid = snapshot.pods[pid]
            kib = kib_by_zone(await asyncio.to_thread(self._read, pid))
            verdict = is_wrong(kib, zones[uid])
            if verdict is None:
                self._verdicts.pop(pid, None)
            else:
                self._verdicts[pid] = (uid, verdict)
        wrong = frozenset(uid for uid, verdict in self._verdicts.values() if verdict)
        if wrong != self.wrong:
            self.wrong = wrong
            self._on_change()

    def _read(self, pid: int) -> str:
        """The first `BYTES_MAX` of it; empty where it cannot be read or the process is gone."""
        try:
            with (self._root / str(pid) / "numa_maps").open("rb") as file:
                return file.read(BYTES_MAX).decode(errors="replace")
        except OSError:
            return ""


def _after(pids: Sequence[int], last: int) -> int:
    """The next of the sorted `pids`, round and round."""
    return next((pid for pid in pids if pid > last), pids[0])
