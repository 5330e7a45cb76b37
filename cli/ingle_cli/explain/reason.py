"""What a reason means. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from rich.text import Text

from ingle_cli.failures import EXIT_UNKNOWN, Failure
from ingle_cli.objects import NOT_SEEN, NOT_SEEN_TEXT
from ingle_cli.text import Shown, paragraph, title
from ingle_kit.objects.reasons import EXPLANATIONS, Reason

_NOTHING = "Nothing."


def reason_text(code: str) -> Shown:
    """Where it appears, what it means, what to do. Raises Failure with the nearest names for an unknown one."""
    by_name = {reason.value.lower(): reason for reason in Reason}
    reason = by_name.get(code.lower())
    if reason is None:
        near = [by_name[word].value for word in get_close_matches(code.lower(), by_name, n=3)]
        hint = f"did you mean {' or '.join(near)}?" if near else "docs/reasons.md lists all."
        raise Failure(f"There is no reason {code!r}: {hint}", EXIT_UNKNOWN)
    where, meaning, action = EXPLANATIONS[reason]
    return [
        title(reason.value),
        paragraph(f"Where: {where}"),
        paragraph(f"Means: {meaning}"),
        paragraph(f"To do: {action}"),
    ]


def meaning_of(name: str) -> str:
    """What it means and what to do, in two sentences; empty for a reason that is not ours."""
    if name == NOT_SEEN:
        return NOT_SEEN_TEXT
    try:
        _, meaning, action = EXPLANATIONS[Reason(name)]
    except ValueError:
        return ""
    return meaning if action == _NOTHING else f"{meaning} {action}"


def meanings(names: Iterable[str]) -> Shown:
    """A paragraph for each reason that is ours, once, under a heading; nothing when none is."""
    found = [(name, text) for name in dict.fromkeys(names) if (text := meaning_of(name))]
    if not found:
        return []
    return [Text(""), title("WHAT IT MEANS"), *(paragraph(f"{name}: {text}") for name, text in found)]
