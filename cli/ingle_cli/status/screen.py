"""`status` for people: one screen of at most `LINES_MAX` lines, or everything with -v. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from rich.text import Text

from ingle_cli.status.lines import (
    BudgetLine,
    ConditionLine,
    NodeLine,
    OperatorLine,
    PolicyLine,
    PoolLine,
    Summary,
)
from ingle_cli.text import SILENT, Shown, age, ago, clean, paragraph, per, plural, table

LINES_MAX: Final = 25
ROWS_EACH: Final = 3
_DEEP: Final = {"AsleepL2": "L2", "Spare": "spare"}
# One line for the operator, a blank line and a heading for each of four parts, a blank line and the hint.
ROWS_MAX: Final = LINES_MAX - 1 - 4 * 2 - 2

Line = TypeVar("Line", PoolLine, NodeLine, BudgetLine, PolicyLine)
Row = tuple[object, ...]


@dataclass(frozen=True)
class Part:
    """One table: rows with the message of each, and what is said instead of rows that have no room."""

    heads: tuple[str, ...]
    right: tuple[str, ...]
    rows: list[Row]
    messages: list[str]
    left_out: str = ""
    empty: str = ""

    def render(self, *, verbose: bool) -> Shown:
        if not self.rows and not self.left_out:
            return [Text(self.empty, overflow="ellipsis", no_wrap=True)]
        shown: Shown = [table(self.heads, self.rows, right=self.right)]
        if self.left_out:
            shown.append(Text(self.left_out, overflow="ellipsis", no_wrap=True))
        if verbose:
            shown += [
                paragraph(f"{row[0]}: {message}")
                for row, message in zip(self.rows, self.messages, strict=True)
                if message
            ]
        return shown


def screen(summary: Summary, *, verbose: bool = False) -> Shown:
    """What to print, in order. Without `verbose` at most `LINES_MAX` lines, whatever the cluster's size."""
    where = "" if summary.namespace is None else f" in namespace {summary.namespace} (-A: all)"
    everywhere = summary.namespace is None
    needs = [len(lines or ()) for lines in (summary.pools, summary.nodes, summary.budgets, summary.policies)]
    room = needs if verbose else shares(needs)
    parts = [
        None if summary.pools is None else _pools(summary.pools, room[0], everywhere, where),
        None if summary.nodes is None else _nodes(summary.nodes, room[1]),
        None if summary.budgets is None else _budgets(summary.budgets, room[2]),
        None if summary.policies is None else _policies(summary.policies, room[3], everywhere, where),
    ]
    shown: Shown = [] if summary.operator is None else [_operator(summary.operator)]
    for part in parts:
        if part is not None:
            shown += [Text("")] if shown else []
            shown += part.render(verbose=verbose)
    hint = _hint(summary)
    return [*shown, Text(""), Text(hint, overflow="ellipsis", no_wrap=True)] if hint else shown


def shares(needs: Sequence[int], rows: int = ROWS_MAX) -> list[int]:
    """Rows for each part: `ROWS_EACH` or what it needs, the rest to the first parts that need more."""
    given = [min(need, ROWS_EACH) for need in needs]
    for place, need in enumerate(needs):
        given[place] += min(need - given[place], rows - sum(given))
    return given


def _cut(
    lines: Sequence[Line], room: int, trouble: Callable[[Line], tuple[int, ...]], what: str
) -> tuple[list[Line], str]:
    """The lines that matter most when not all have room (lowest `trouble` first), and what is said of the rest."""
    if len(lines) <= room:
        return list(lines), ""
    ordered = sorted(lines, key=trouble)
    kept, rest = ordered[: max(0, room - 1)], ordered[max(0, room - 1) :]
    reasons = ", ".join(
        f"{count} {reason}" for reason, count in Counter(x.reason for x in rest).most_common(3)
    )
    return kept, f"… {plural(len(rest), what)} more: {reasons} (-v lists all)"


def _operator(operator: OperatorLine) -> Text:
    if operator.leader is None:
        text = "Operator: nobody leads; nothing is started, woken or put to sleep."
    elif not operator.held:
        text = f"Operator: {operator.leader} let its lease run out, last renewed {ago(operator.renewed_s)}."
    else:
        renewed = ago(operator.renewed_s)
        text = f"Operator: {operator.leader} leads (epoch {operator.epoch}), lease renewed {renewed}."
    style = "" if operator.held else "red"
    return Text(clean(text), style=style, overflow="ellipsis", no_wrap=True)


def _pools(lines: list[PoolLine], room: int, everywhere: bool, where: str) -> Part:
    kept, left_out = _cut(lines, room, _pool_trouble, "pool")
    counts = ("AWAKE", "ASLEEP", "STARTING", "WANTED", "WAITING", "WATTS")
    rows: list[Row] = [
        (
            f"{x.namespace}/{x.name}" if everywhere else x.name,
            *(x.awake, _asleep(x), x.starting, x.wanted, x.waiting, x.charged_w),
            x.ready,
            _reasons(x),
        )
        for x in kept
    ]
    heads = ("POOL", *counts, "READY", "REASON")
    return Part(heads, counts, rows, [_messages(x) for x in kept], left_out, f"No InferencePools{where}.")


def _asleep(line: PoolLine) -> str:
    """How many sleep, and how many of those deeply."""
    deep = [f"{line.tiers[tier]} {word}" for tier, word in _DEEP.items() if line.tiers.get(tier)]
    return f"{line.asleep} ({', '.join(deep)})" if deep else str(line.asleep)


def _alarms(line: PoolLine) -> list[ConditionLine]:
    """Conditions beside Ready that say that something is wrong."""
    wrong = {"Accepted": "False", "Stalled": "True"}
    return [c for c in line.conditions if wrong.get(c.type) == c.status and c.reason != line.reason]


def _reasons(line: PoolLine) -> str:
    """Without spaces, at which a line would be broken."""
    return "+".join([line.reason, *(c.reason for c in _alarms(line))])


def _messages(line: PoolLine) -> str:
    """What else the conditions say, and the engines by tier."""
    tiers = ", ".join(f"{count} {state}" for state, count in sorted(line.tiers.items()))
    said = [line.message, *(f"{c.type} {c.status}: {c.message}" for c in _alarms(line))]
    return "; ".join(part for part in (*said, f"engines: {tiers}" if tiers else "") if part)


def _pool_trouble(line: PoolLine) -> tuple[int, ...]:
    return line.ready == "True", -line.waiting, line.awake == 0 and line.starting == 0


def _nodes(lines: list[NodeLine], room: int) -> Part:
    kept, left_out = _cut(
        lines, room, lambda x: (x.ready == "True" and not x.silent, -x.unusable_gpus), "node"
    )
    rows: list[Row] = [
        (
            x.name,
            f"{x.gpus} ({x.unusable_gpus} bad)" if x.unusable_gpus else x.gpus,
            per(x.claimed_mib, x.allocatable_mib),
            per(x.charged_w, x.allotted_w, "any"),
            _heard(x),
            x.ready,
            x.reason,
        )
        for x in kept
    ]
    heads = ("NODE", "GPUS", "MIB CLAIMED/OF", "WATTS CHARGED/OF", "AGENT", "READY", "REASON")
    empty = "No GPUNodes: no agent has reported from a node with GPUs yet."
    messages = ["; ".join(part for part in (x.product, x.message) if part) for x in kept]
    return Part(heads, heads[1:4], rows, messages, left_out, empty)


def _heard(line: NodeLine) -> str:
    if line.heard_s is None:
        return f"{SILENT} always"
    return f"{SILENT} {age(line.heard_s)}" if line.silent else ago(line.heard_s)


def _budgets(lines: list[BudgetLine], room: int) -> Part:
    kept, left_out = _cut(lines, room, lambda x: (x.ready == "True",), "budget")
    rows: list[Row] = [
        (x.name, x.asked_w, x.cap_w, x.allotted_w, x.draw_w, x.nodes, x.state, x.ready, x.reason)
        for x in kept
    ]
    numbers = ("WATTS", "CAP", "ALLOTTED", "DRAW", "NODES")
    heads = ("BUDGET", *numbers, "STATE", "READY", "REASON")
    empty = "No PowerBudgets: watts are not limited."
    return Part(heads, numbers, rows, [x.message for x in kept], left_out, empty)


def _policies(lines: list[PolicyLine], room: int, everywhere: bool, where: str) -> Part:
    kept, left_out = _cut(lines, room, lambda x: (x.accepted == "True",), "policy")
    rows: list[Row] = [
        (
            f"{x.namespace}/{x.name}" if everywhere else x.name,
            len(x.models),
            x.fallback,
            x.accepted,
            x.reason,
        )
        for x in kept
    ]
    heads = ("POLICY", "MODELS", "FALLBACK", "ACCEPTED", "REASON")
    empty = f"No RoutingPolicies{where}: every authenticated caller may use every model."
    return Part(heads, ("MODELS",), rows, [x.message for x in kept], left_out, empty)


def _hint(summary: Summary) -> str:
    """How to ask about the worst pool, else the worst node."""
    for pool in sorted(summary.pools or (), key=_pool_trouble):
        if pool.ready != "True":
            return f"Why: ingle explain pool/{pool.name} -n {pool.namespace}"
    for node in summary.nodes or ():
        if node.ready != "True" or node.silent:
            return f"Why: ingle explain node/{node.name}"
    return ""
