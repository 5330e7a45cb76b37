"""Progress for a person: one moving line on a terminal, a line now and then in a log."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
import time
from typing import TextIO

TAIL_LINES = 40


class Progress:
    """Prints to `out` (standard error by default)."""

    def __init__(self, out: TextIO | None = None, *, log_every_s: float = 15.0) -> None:
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._every_s = 1.0 if self._terminal else log_every_s
        self._moving = False

    @property
    def every_s(self) -> float:
        """Seconds between two calls of `move` that are worth making."""
        return self._every_s

    def say(self, text: str) -> None:
        """A line that stays."""
        self._end_moving()
        print(text, file=self._out, flush=True)

    def move(self, text: str) -> None:
        """A line that the next one replaces; on a log, a plain line."""
        if self._terminal:
            print(f"\r\x1b[K{text[:100]}", end="", file=self._out, flush=True)
            self._moving = True
        else:
            print(text, file=self._out, flush=True)

    def _end_moving(self) -> None:
        if self._moving:
            print("\r\x1b[K", end="", file=self._out)
            self._moving = False


def follow(process: subprocess.Popen[str], progress: Progress, title: str) -> tuple[int, list[str]]:
    """Wait for `go build -v`, showing seconds and packages; gives the exit code and the last lines it printed."""
    tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
    compiled = [0]

    def read() -> None:
        for line in process.stderr or ():
            tail.append(line.rstrip())
            compiled[0] += not line.startswith(("go: ", "#", "\t"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    started_at_s = time.monotonic()
    progress.move(f"{title}: started")
    while True:
        try:
            code = process.wait(timeout=progress.every_s)
            break
        except subprocess.TimeoutExpired:
            now = tail[-1].removeprefix("go: ") if tail else "looking at modules"
            passed_s = time.monotonic() - started_at_s
            progress.move(f"{title}: {passed_s:.0f} s, {compiled[0]} packages, now {now}")
    reader.join(timeout=5)
    if code == 0:
        progress.say(f"{title}: done in {time.monotonic() - started_at_s:.0f} s")
    return code, list(tail)
