"""`doctor` for people and for programs. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from ingle_cli.doctor.facts import Facts, Finding, Level, Unread
from ingle_cli.text import Shown, clean, plural
from ingle_kit.objects import timestamp

WORDS: Final[dict[Level, tuple[str, str]]] = {
    "Good": ("ok", "green"),
    "Note": ("note", "yellow"),
    "Bad": ("BAD", "red"),
    "Unchecked": ("not checked", ""),
}


class Report(msgspec.Struct, frozen=True):
    """What `-o json` prints. `good`: nothing is bad; what could not be checked does not count."""

    at: str
    server: str
    kubernetes: str | None
    version: str
    good: bool
    findings: list[Finding]


def report(facts: Facts, found: list[Finding], server: str) -> Report:
    kubernetes = None if isinstance(facts.kubernetes, Unread) else facts.kubernetes
    good = not any(one.level == "Bad" for one in found)
    return Report(timestamp(facts.now_s), server, kubernetes, facts.version, good, found)


def report_text(told: Report) -> Shown:
    """One row a finding; below those that are not good what to do, and once a check why it matters."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    reasoned: set[str] = set()
    for one in told.findings:
        word, style = WORDS[one.level]
        rows.add_row(Text(word, style=style), one.check, clean(one.what))
        if one.level not in ("Bad", "Note"):
            continue
        rows.add_row("", "", clean(f"To do: {one.todo}"))
        if one.check not in reasoned:
            rows.add_row("", "", clean(f"Why it matters: {one.why}"))
        reasoned.add(one.check)
    return [rows, Text(""), Text(summary(told.findings))]


def summary(found: list[Finding]) -> str:
    """The last line."""
    count = Counter(one.level for one in found)
    wrong = plural(count["Bad"], "thing") + " wrong" if count["Bad"] else "Nothing wrong found"
    parts = [plural(count["Note"], "note")] if count["Note"] else []
    parts += [f"{plural(count['Unchecked'], 'thing')} not checked"] if count["Unchecked"] else []
    return f"{', '.join([wrong, *parts])}."
