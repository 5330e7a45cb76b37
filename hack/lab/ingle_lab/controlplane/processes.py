"""Start, watch and stop local processes, safely across pid reuse and the death of the starter."""

from __future__ import annotations

import concurrent.futures
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError

TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True)
class ProcessId:
    """A process for all time: the pid alone may be reused, together with its start (clock ticks) it is not."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether it runs; one that ended and was not waited for does not."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[19]) == self.start_ticks and fields[0] not in ("Z", "X")


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def rss_bytes(process: ProcessId) -> int:
    """Memory it holds in RAM, 0 when it does not run."""
    fields = _stat(process.pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields and process.alive else 0


@cache
def _starter() -> concurrent.futures.ThreadPoolExecutor:
    """One thread that lives as long as this process: a tether hangs on the thread that starts the child."""
    return concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


os.register_at_fork(after_in_child=_starter.cache_clear)


def tethered(command: Sequence[str]) -> list[str]:
    """The command, made to be killed when the thread that starts it ends."""
    return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command]


def spawn(command: Sequence[str], log: Path, *, detached: bool) -> subprocess.Popen[bytes]:
    """Start a process in its own session, its output appended to `log`.

    Unless `detached`, it is killed when this Python process ends in any way.
    """
    words = list(command) if detached else tethered(command)

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _starter().submit(start).result()


def identify(pid: int) -> ProcessId:
    """The identity of a process that exists. Raises ControlPlaneError when it does not."""
    fields = _stat(pid)
    if fields is None:
        raise ControlPlaneError(f"there is no process {pid}.")
    return ProcessId(pid, int(fields[19]))


def send(process: ProcessId, number: signal.Signals) -> None:
    """Signal exactly that process; one that has ended is left in peace."""
    with _Handle(process) as handle:
        handle.send(number)


def wait(process: ProcessId, timeout_s: float) -> bool:
    """Whether it has ended within `timeout_s`."""
    with _Handle(process) as handle:
        return handle.wait(timeout_s)


def stop(process: ProcessId, *, grace_s: float) -> None:
    """End it: SIGTERM, after `grace_s` SIGKILL. Returns when it is gone."""
    with _Handle(process) as handle:
        handle.send(signal.SIGTERM)
        if not handle.wait(grace_s):
            handle.send(signal.SIGKILL)
            if not handle.wait(10.0):
                raise ControlPlaneError(
                    f"process {process.pid} does not end even by SIGKILL; the kernel holds it."
                )


class _Handle:
    """A pidfd, or nothing when the process is gone already."""

    def __init__(self, process: ProcessId) -> None:
        self._fd: int | None = None
        try:
            self._fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        if not process.alive:  # ended, or the pid is another process by now
            self.close()

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def send(self, number: signal.Signals) -> None:
        if self._fd is None:
            return
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return  # ended meanwhile, which is as good

    def wait(self, timeout_s: float) -> bool:
        if self._fd is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
