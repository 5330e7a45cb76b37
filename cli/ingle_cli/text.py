"""How things are written for a terminal: clean text, ages, short GPU names, plain tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, Final, Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

PLAIN_COLUMNS: Final = 100
INDENT: Final = 2
Justify = Literal["left", "right"]

SILENT: Final = "silent"
SPARE: Final = "; a spare, so nothing of it is claimed until it is loaded"
Shown = list[RenderableType]

_GOOD: Final = frozenset({"True", "Normal"})
_BAD: Final = frozenset({"False", "BelowMinimumLimits"})


def console(file: IO[str] | None = None, *, columns: int | None = None) -> Console:
    """To the terminal in its own width; `PLAIN_COLUMNS` wide and without colour where there is none."""
    out = file or sys.stdout
    known = columns or (None if out.isatty() or "COLUMNS" in os.environ else PLAIN_COLUMNS)
    return Console(file=out, width=known, highlight=False, markup=False, emoji=False)


def clean(value: object) -> str:
    """One line without control characters: what others wrote into objects cannot steer the terminal."""
    text = " ".join(str(value).split())
    return "".join(char if char.isprintable() else "?" for char in text)


def cell(value: object) -> Text:
    """A value; None and an empty text are a dash. Words for good and bad have a colour."""
    text = clean("-" if value in (None, "") else value)
    style = "green" if text in _GOOD else "red" if text in _BAD or text.startswith(SILENT) else ""
    return Text(text, style=style, overflow="ellipsis")


def age(seconds: float | None) -> str:
    """`3 s`, `4 min`, `5 h`, `6 d`; never for None. Times ahead of our clock count as now."""
    if seconds is None:
        return "never"
    whole = max(0, round(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def ago(seconds: float | None) -> str:
    """`3 s ago`, or never."""
    return "never" if seconds is None else f"{age(seconds)} ago"


def short_gpu(uuid: str) -> str:
    """The first part of a long UUID is enough to tell the GPUs of a cluster apart."""
    return uuid if len(uuid) <= 16 else f"{uuid[:12]}…"


def per(used: object, whole: object, without: str = "-") -> str:
    """`used/whole`, with a word where there is no whole."""
    return f"{used}/{without if whole is None else whole}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 node`, `2 nodes`, `2 policies`."""
    several = many or (f"{one[:-1]}ies" if one.endswith("y") else f"{one}s")
    return f"{count} {one if count == 1 else several}"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = (), fold: str = ""
) -> Table:
    """Columns with two spaces between. Where there is no room the first and the last are cut with `…`; the
    one named `fold` is wrapped onto more lines instead."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(heads):
        justify: Justify = "right" if head in right else "left"
        may_shrink = place in (0, len(heads) - 1) or head == fold
        made.add_column(
            head,
            justify=justify,
            no_wrap=not may_shrink,
            overflow="fold" if head == fold else "ellipsis",
        )
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def paragraph(text: str, *, indent: int = INDENT, style: str = "") -> RenderableType:
    """Wrapped text, set in by `indent` columns."""
    return Padding(Text(clean(text), style=style, overflow="fold"), (0, 0, 0, indent))


def title(text: str) -> Text:
    return Text(clean(text), style="bold", overflow="fold")


def rendered(shown: Shown, to: Console) -> str:
    """What `to` would print, without spaces at the ends of lines."""
    with to.capture() as captured:
        for part in shown:
            to.print(Group(part))  # a bare Text would lose that it must not wrap
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
