"""Processes that belong to a lab folder, found in /proc."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(lab: Path) -> dict[int, str]:
    """Command lines, by process id, of processes with the folder in their command line or environment.

    Not this process nor those that started it: a person may have named the folder to them.
    """
    needle = str(lab.absolute()).encode()
    above = _self_and_above()
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) in above:
            continue
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is not ours to read
            continue
        if needle in command or needle in environment:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _self_and_above() -> set[int]:
    pid = os.getpid()
    found: set[int] = set()
    while pid > 0:
        found.add(pid)
        # the name, in parentheses, may hold anything; the parent is the second field after it
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found
