"""The setter: the process that may set power limits, and does nothing else.

It takes one question after the other from a socket that only the reader of its pod can reach, has neither a token nor
an address, and remembers what is needed to give limits back. Killed at any time it loses nothing: the reader reads the
limits themselves, and asks again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingle_agent.device import DeviceError, NotPermitted
from ingle_agent.journal import Journal
from ingle_agent.nvml import NvmlDevice
from ingle_agent.setter.ask import reachable, read_line
from ingle_agent.setter.guard import given_back, refusal
from ingle_agent.setter.wire import Answer, Malformed, SetLimit, answer_line, request_of

LINE_S = 1.0
HANG_S = 30
WAITING_MAX = 8
SOCKET_MODE = 0o660

log = logging.getLogger(__name__)


class Setter:
    """Sets limits that the guard lets pass. `journal` is this process's alone."""

    def __init__(self, device: NvmlDevice, journal: Journal) -> None:
        self._device, self._journal = device, journal

    def answer(self, line: bytes, now_s: float) -> Answer:
        try:
            request = request_of(line)
        except Malformed as error:
            return Answer(False, text=str(error))
        if request is None:
            return Answer(True)
        shapes = {shape.uuid: shape for shape in self._device.shapes()}
        self._device.reopen_if_stale(request.uuid not in shapes or not shapes[request.uuid].max_w)
        why = refusal(request, self._device.shapes(), now_s)
        return Answer(False, text=why) if why else self._set(request)

    def _set(self, request: SetLimit) -> Answer:
        """What is remembered is written first, so that a kill in between loses no limit to give back."""
        try:
            limit_w = self._device.limit_w(request.uuid)
            self._note(lambda: self._journal.intend({request.uuid: limit_w}))
            self._device.set_limit(request.uuid, request.watts)
        except NotPermitted as error:
            return Answer(False, denied=True, text=str(error))
        except DeviceError as error:
            return Answer(False, text=str(error))
        self.forget_given_back()
        return Answer(True)

    def forget_given_back(self) -> None:
        limits_w: dict[str, int] = {}
        for uuid in self._journal.previous:
            with suppress(DeviceError):
                limits_w[uuid] = self._device.limit_w(uuid)
        self._note(lambda: self._journal.forget(given_back(self._journal.previous, limits_w)))

    def _note(self, act: Callable[[], None]) -> None:
        """A journal that cannot be written must not keep a cap from being set; it costs only the way back."""
        try:
            act()
        except OSError as error:
            log.warning("journal of limits cannot be written: %s", error)


def serve(path: Path, setter: Setter) -> None:
    """Until SIGTERM or SIGINT, which end it once the driver's call has; what else they cut, a kill may cut too."""
    setter.forget_given_back()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with listening(path) as listener:
        log.info("limits are set for who asks at %s", path)
        while True:
            connection, _ = listener.accept()
            with connection:
                signal.alarm(HANG_S)  # a driver that hangs ends this process, and the kubelet starts another
                _one(connection, setter)
                signal.alarm(0)


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)


def _one(connection: socket.socket, setter: Setter) -> None:
    """One question. A reader that is slow, or gone, costs the others at most LINE_S."""
    try:
        answer = setter.answer(read_line(connection, LINE_S), time.monotonic())
        if not answer.done:
            log.warning("%s", answer.text)
        connection.settimeout(LINE_S)
        connection.sendall(answer_line(answer))
    except OSError as error:
        log.warning("a reader went away: %s", error)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that takes an earlier one's place at once. Open to its owner and group: the pod's group in a volume."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with reachable(draft) as name:
            listener.bind(name)
        draft.chmod(SOCKET_MODE)
        listener.listen(WAITING_MAX)
        os.replace(draft, path)
        yield listener
