"""A local process that stands for a container: dies with this program, takes its whole group along."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
MARK = "INGLE_LAB_NODE_MARK"


class Process:
    """One started process, leader of its own session. Start it from the main thread, inside a running loop."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @classmethod
    def start(cls, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log_path: Path) -> Process:
        """Raises OSError when there is no such program or folder."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log_file:
            popen = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509 - only the child can ask for it
            )
        return cls(popen)

    @property
    def alive(self) -> bool:
        return not self._exit.done()

    async def wait(self) -> int:
        """Exit code as a shell gives it: 128 + number for a signal."""
        return await asyncio.shield(self._exit)

    def terminate(self) -> None:
        """SIGTERM to the process alone, as a container runtime does."""
        if self.alive:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.alive:
            _kill_group(self.pid)

    async def end(self, grace_s: float, hurry: asyncio.Event) -> None:
        """SIGTERM, then SIGKILL after `grace_s` or as soon as `hurry` is set. Returns when it is gone."""
        self.terminate()
        hurried: asyncio.Future[Any] = asyncio.ensure_future(hurry.wait())
        exited: asyncio.Future[Any] = self._exit
        try:
            await asyncio.wait({exited, hurried}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
        self.kill()
        await self.wait()

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _kill_group(self.pid)  # before it is reaped, while its number cannot belong to anyone else
        code = self._popen.wait()
        if not self._exit.done():
            self._exit.set_result(128 - code if code < 0 else code)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


def _dies_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)

    return prepare


def kill_strays(mark: str) -> int:
    """Kills what an earlier life of this node left (children of its processes) and returns how many."""
    needle = f"{MARK}={mark}".encode()
    count = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                count += 1
        except OSError:
            continue  # gone meanwhile, or not ours to read
    return count
