"""`watch` on a terminal: the pool as it is above, what happened last below. Pure."""

from __future__ import annotations

from rich.text import Text

from ingle_cli.enginerow import engine_row
from ingle_cli.objects import Object
from ingle_cli.status.summary import pool_line
from ingle_cli.text import Shown, cell, clean, plural, table, title
from ingle_cli.watch.story import Story


def screen(story: Story, now_s: float, rows: int) -> Shown:
    """At most `rows` lines; engines go before what happened."""
    if story.pool is None:
        return [Text("…")]
    head = _head(story.pool)
    room = max(1, rows - len(head) - 5)
    engines = (story.pool.get("status") or {}).get("engines") or []
    shown: Shown = [*head, Text(""), *_engines(engines, now_s, room)]
    left = rows - len(head) - 2 - min(len(engines), room) - 2 - bool(story.lost)
    happened = list(story.lines)[-left:] if left > 0 else []
    shown += [Text(""), *(_happened(line.at, line.text, line.alarm) for line in happened)]
    if story.lost:
        shown.append(
            Text(clean(f"NOT UP TO DATE: {story.lost}"), style="bold red", overflow="ellipsis", no_wrap=True)
        )
    return shown


def _head(pool: Object) -> list[Text]:
    line = pool_line(pool)
    counts = f"{line.awake} awake ({line.wanted} wanted), {line.asleep} asleep, {line.starting} starting"
    state = Text("Ready ").append(cell(line.ready)).append(clean(f" {line.reason} {line.message}".rstrip()))
    state.overflow, state.no_wrap = "ellipsis", True
    return [
        title(f"{line.namespace}/{line.name} ({line.model})"),
        Text(f"{counts}; {plural(line.waiting, 'request')} waiting"),
        state,
    ]


def _engines(engines: list[Object], now_s: float, room: int) -> Shown:
    if not engines:
        return [Text("No engines.")]
    rows = [engine_row(engine, now_s) for engine in engines[:room]]
    return [table(("ENGINE", "TIER", "SINCE", "NODE", "GPUS", "REASON"), rows)]


def _happened(at: str, text: str, alarm: bool) -> Text:
    line = Text(f"{at[11:19]}  ", style="dim").append(clean(text), style="red" if alarm else "")
    line.overflow, line.no_wrap = "ellipsis", True
    return line
