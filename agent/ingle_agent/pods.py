"""Which pod a process belongs to.

First way: the control group that the kubelet made (`kubepods`, with `_` for `-` under systemd). Second way, for
processes outside any: the variable INGLE_POD_UID in the environment they were started with. The kernel shows that
to the same user and to root only, so an agent that runs as another user sees control groups alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_HEX = "[0-9a-f]"
_CGROUP = re.compile(rf"kubepods[^\n]*?pod({_HEX}{{8}}(?:[-_]{_HEX}{{4}}){{3}}[-_]{_HEX}{{12}}|{_HEX}{{32}})")
_VARIABLE = b"INGLE_POD_UID="


class PodFinder:
    """Remembers the answer for a process as long as it is asked for; a reused pid is told by its start time."""

    def __init__(self, proc_root: Path) -> None:
        self._root = proc_root
        self._known: dict[tuple[int, str], str] = {}

    def pods(self, pids: Iterable[int]) -> dict[int, str]:
        """pid -> pod UID; empty where it belongs to no pod or is gone."""
        known: dict[tuple[int, str], str] = {}
        for pid in set(pids):
            key = (pid, self._start(pid))
            known[key] = self._known[key] if key in self._known else self._find(pid)
        self._known = known
        return {pid: uid for (pid, _), uid in known.items()}

    def _start(self, pid: int) -> str:
        try:
            after_name = (self._root / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return after_name[19] if len(after_name) > 19 else ""

    def _find(self, pid: int) -> str:
        folder = self._root / str(pid)
        try:
            found = _CGROUP.search((folder / "cgroup").read_text())
            if found is not None:
                return found.group(1).replace("_", "-")
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            return ""
        value = next((v.removeprefix(_VARIABLE) for v in variables if v.startswith(_VARIABLE)), b"")
        return value.decode(errors="replace")
