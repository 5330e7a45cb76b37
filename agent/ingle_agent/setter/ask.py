"""One question to the setter."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingle_agent.setter.wire import LINE_BYTES_MAX, Answer, Malformed, answer_of


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of a socket's path that is short enough for one, however long the path is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def read_line(connection: socket.socket, within_s: float) -> bytes:
    """Up to and with the line's end; without it where the other side sent too much or closed. Raises OSError."""
    until_s = time.monotonic() + within_s
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no whole line in time")
        connection.settimeout(left_s)
        piece = connection.recv(LINE_BYTES_MAX - len(line))
        if not piece:
            break
        line += piece
    return line


def ask(path: Path, line: bytes, within_s: float) -> Answer:
    """Raises OSError where there is no answer: then what was asked may have been done or not."""
    with reachable(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within_s)
        connection.connect(name)
        connection.sendall(line)
        try:
            return answer_of(read_line(connection, within_s))
        except Malformed as error:
            raise ConnectionError(str(error)) from error
