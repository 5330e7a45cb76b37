"""What the reader and the setter of limits say to each other: one line each, then the connection ends. Pure.

set UUID WATTS UNTIL_MS     set this GPU's limit, unless it is later than UNTIL_MS by the node's monotonic clock
ping                        answered after all that was asked before
ok | denied TEXT | failed TEXT
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LINE_BYTES_MAX: Final = 256
PING: Final = b"ping\n"
OK: Final = "ok"
_SET = re.compile(rb"set ([A-Za-z0-9-]{1,96}) ([1-9][0-9]{0,4}) ([1-9][0-9]{0,17})\n")
_ANSWER = re.compile(rb"(ok|denied|failed)(?: ([^\n]*))?\n")


class Malformed(Exception):
    """Not a line of this protocol."""


@dataclass(frozen=True, slots=True)
class SetLimit:
    """`until_s`: by the monotonic clock that all processes of a node share, in whole milliseconds."""

    uuid: str
    watts: int
    until_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """`denied`: the setter may not set limits at all. `text` says why; empty where it is done."""

    done: bool
    denied: bool = False
    text: str = ""


def line_of(request: SetLimit) -> bytes:
    return f"set {request.uuid} {request.watts} {int(request.until_s * 1000)}\n".encode()


def request_of(line: bytes) -> SetLimit | None:
    """None: a ping. Raises Malformed."""
    if line == PING:
        return None
    found = _SET.fullmatch(line)
    if found is None:
        raise Malformed(f"neither a ping nor a limit: {line[:LINE_BYTES_MAX]!r}")
    return SetLimit(found[1].decode(), int(found[2]), int(found[3]) / 1000)


def answer_line(answer: Answer) -> bytes:
    """Cut to one line of at most LINE_BYTES_MAX."""
    if answer.done:
        return b"ok\n"
    text = " ".join(answer.text.split()).encode("ascii", "replace")
    return ((b"denied " if answer.denied else b"failed ") + text)[: LINE_BYTES_MAX - 1] + b"\n"


def answer_of(line: bytes) -> Answer:
    """Raises Malformed."""
    found = _ANSWER.fullmatch(line)
    if found is None:
        raise Malformed(f"no answer: {line[:LINE_BYTES_MAX]!r}")
    return Answer(found[1] == b"ok", found[1] == b"denied", (found[2] or b"").decode("ascii", "replace"))
