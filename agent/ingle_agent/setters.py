"""How a limit that was decided on reaches the GPU: by this process, or by a setter of its own beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ingle_agent.device import Device, DeviceError, NotPermitted
from ingle_agent.journal import JournalUnreadable, read_journal
from ingle_agent.setter.ask import ask
from ingle_agent.setter.wire import PING, SetLimit, line_of

PING_S = 0.2
BEGIN_S = 2.0
ANSWER_S = 4.0

log = logging.getLogger(__name__)


class Limits(Protocol):
    """Earlier limits of GPUs that were changed: see journal.py."""

    @property
    def previous(self) -> Mapping[str, int | None]: ...

    def intend(self, limits_w: Mapping[str, int]) -> None: ...

    def forget(self, uuids: set[str]) -> None: ...


class Setter(Protocol):
    """Sets limits, and knows whether an earlier call may still be under way."""

    def settle(self) -> None:
        """Call it before limits are read: what is read after it cannot be changed by an earlier call any more, or
        `set_limit` refuses until that is so. Never raises."""

    def set_limit(self, uuid: str, watts: int) -> None:
        """Raises NotPermitted or DeviceError; says nothing about what is enforced."""


class LocalSetter:
    """The driver's call has ended when it returns."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def settle(self) -> None:
        return

    def set_limit(self, uuid: str, watts: int) -> None:
        self._device.set_limit(uuid, watts)


class RemoteSetter:
    """Asks a setter at a socket, who does one thing after the other.

    Where an answer is missing the limit may yet be set. Nothing else is asked until the setter has answered again, and
    then only by what was read after that: else a raise that comes late could meet another one that took its watts.
    """

    def __init__(self, path: Path, begin_s: float = BEGIN_S, answer_s: float = ANSWER_S) -> None:
        """`begin_s`: longest that the setter may take to begin with a limit, `answer_s`: to answer; the longer one."""
        self._path, self._begin_s, self._answer_s = path, begin_s, answer_s
        self._unsettled = "limits are not set before the setter has answered once"

    def settle(self) -> None:
        if not self._unsettled:
            return
        try:
            ask(self._path, PING, PING_S)
        except OSError as error:
            self._unsettled = self._said(error)
        else:
            self._unsettled = ""

    def set_limit(self, uuid: str, watts: int) -> None:
        if self._unsettled:
            raise DeviceError(self._unsettled)
        line = line_of(SetLimit(uuid, watts, time.monotonic() + self._begin_s))
        try:
            answer = ask(self._path, line, self._answer_s)
        except OSError as error:
            self._unsettled = self._said(error)
            raise DeviceError(self._unsettled) from error
        if answer.denied:
            raise NotPermitted(answer.text)
        if not answer.done:
            raise DeviceError(answer.text)

    def _said(self, error: OSError) -> str:
        return f"the setter of limits does not answer at {self._path}: {error.strerror or error}"


class SettersJournal:
    """The setter's journal, which only the setter writes. Where it cannot be read, what was known of it last holds."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path, self._boot_id = path, boot_id
        self._previous: dict[str, int | None] = {}
        self._trouble = ""

    @property
    def previous(self) -> Mapping[str, int | None]:
        trouble = ""
        try:
            self._previous = read_journal(self._path, self._boot_id)
        except JournalUnreadable as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
        return self._previous

    def intend(self, limits_w: Mapping[str, int]) -> None:
        """The setter does."""

    def forget(self, uuids: set[str]) -> None:
        """The setter does."""
