"""A cgroup of its own for the node in each hierarchy of cgroup v1, below the one that this process is in."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
_POLL_S = 0.1


def parse(text: str) -> dict[str, str]:
    """Path of a process's cgroup by controller, from /proc/PID/cgroup of version 1."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name.removeprefix("name=")] = path
    return found


def folders(name: str) -> list[Path]:
    """Where the node's cgroups are or would be, one a hierarchy that is mounted."""
    mine = parse(Path("/proc/self/cgroup").read_text())
    return [
        ROOT / controller / mine[controller].lstrip("/") / name
        for controller in CONTROLLERS
        if controller in mine and (ROOT / controller).is_dir()
    ]


def enter(name: str) -> None:
    """Make them and move this process into them. Raises OSError."""
    for folder in folders(name):
        folder.mkdir(exist_ok=True)
        if (folder / "cpuset.cpus").exists():
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((folder.parent / file).read_text())
        if (folder / "memory.use_hierarchy").exists():
            with contextlib.suppress(OSError):  # newer kernels know nothing else
                (folder / "memory.use_hierarchy").write_text("1")
        (folder / "cgroup.procs").write_text(str(os.getpid()))


def sweep(prefix: str) -> None:
    """Take away cgroups named PREFIX and a process id, where that process is gone: its node ended with it."""
    for controller in CONTROLLERS:
        stale = [path for path in (ROOT / controller).rglob(f"{prefix}*") if path.is_dir()]
        _take_away(
            [path for path in stale if not Path("/proc", path.name.removeprefix(prefix)).exists()], 5.0
        )


def remove(name: str, timeout_s: float = 10.0) -> list[Path]:
    """Kill what is left in them and take them away, inner ones first. Gives those that stayed."""
    return _take_away(folders(name), timeout_s)


def _take_away(wanted: list[Path], timeout_s: float) -> list[Path]:
    deadline_s = time.monotonic() + timeout_s
    while left := [folder for folder in wanted if folder.exists()]:
        if time.monotonic() > deadline_s:
            break
        for folder in left:
            _empty(folder)
        if any(folder.exists() for folder in left):
            time.sleep(_POLL_S)
    return left


def _empty(folder: Path) -> None:
    for inner, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            for pid in (Path(inner) / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(inner)
