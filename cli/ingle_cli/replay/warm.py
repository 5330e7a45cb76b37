"""`replay warm`: which requests find their model cold under each keep-alive strategy, over a public trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from ingle_cli.failures import Failure
from ingle_cli.replay.picture import check_name, drawn, svg
from ingle_cli.replay.progress import progress_on, teller
from ingle_cli.text import Shown, paragraph, plural, table, title
from ingle_simulator import functions, genai
from ingle_simulator.lines import TraceError
from ingle_simulator.warm import MINUTES, PRICE, SLOTS, kind
from ingle_simulator.warmminutes import replay as replay_minutes
from ingle_simulator.warmslots import Found, Room
from ingle_simulator.warmslots import replay as replay_slots

POLICIES: Final = tuple(SLOTS)
STEPS: Final = 100
ACROSS: Final = "% of the trace replayed"


@dataclass(frozen=True, slots=True)
class WarmWanted:
    """What to replay. `slots` and `sleepers` are for the trace of models; `seed` deals out its load times."""

    trace: Path
    policies: tuple[str, ...] = ()
    slots: int = 8
    sleepers: int = 0
    seed: int = 0
    picture: Path | None = None


def replayed_warm(wanted: WarmWanted, progress_to: Console) -> Shown:
    """Replays all policies, and draws. Raises Failure where the trace or a name is wrong."""
    check_name(wanted.picture)
    try:
        show = {"genai": _models, "functions": _functions}[kind(wanted.trace)]
        return show(wanted, progress_to)
    except TraceError as error:
        raise Failure(f"{error}.") from error


def _policies(wanted: WarmWanted, known: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in wanted.policies if name not in known]
    if unknown:
        raise Failure(f"--policy {unknown[0]!r}: for this trace there are {', '.join(known)}.")
    return wanted.policies or tuple(known)


def _models(wanted: WarmWanted, console: Console) -> Shown:
    names = _policies(wanted, tuple(SLOTS))
    requests = genai.read_requests(wanted.trace)
    load_s = genai.load_times((r.model for r in requests), genai.read_loads_s(wanted.trace), wanted.seed)
    room = Room(wanted.slots, wanted.sleepers)
    lines, curves = [], {}
    with progress_on(console) as progress:
        for name in names:
            task = progress.add_task(name, total=len(requests))
            out = replay_slots(
                SLOTS[name](),
                requests,
                load_s,
                room,
                teller(progress, task),
            )
            shares = [f"{out.percent(found):.2f} %" for found in (Found.COLD, Found.ASLEEP, Found.STARTING)]
            mean_s = sum(out.waits_s) / len(out.waits_s)
            lines.append(
                [name, *shares, f"{mean_s:.2f} s", f"{out.wait_s(95):.1f} s", f"{out.wait_s(99):.1f} s"]
            )
            curves[name] = shares_so_far(
                [int(found is Found.COLD) for found in out.found], [1] * len(requests)
            )
    heading = (
        f"Alibaba GenAI, simulated: {plural(len(requests), 'request')} to {plural(len(load_s), 'model')}, "
        f"{plural(wanted.slots, 'slot')}, {plural(wanted.sleepers, 'sleeper')}"
    )
    _draw(wanted, curves, heading)
    head = ["policy", "cold", "woken", "joined", "wait mean", "p95", "p99"]
    return [
        title(heading),
        paragraph(
            "cold: the request began a load; woken: it began a wake; joined: another had begun it. Waits are of all "
            "requests. Load times are measured ones, dealt out to the models by luck (--seed)."
        ),
        table(head, lines, right=head[1:]),
    ]


def _functions(wanted: WarmWanted, console: Console) -> Shown:
    names = _policies(wanted, tuple(MINUTES))
    apps = functions.read_apps(wanted.trace)
    needed = [sum(app.needed[minute] for app in apps) for minute in range(functions.MINUTES)]
    lines, curves = [], {}
    with progress_on(console) as progress:
        for name in names:
            task = progress.add_task(name, total=functions.MINUTES)
            out = replay_minutes(
                MINUTES[name](),
                apps,
                progress=teller(progress, task),
            )
            cold, gb_min = out.total()
            lines.append(
                [name, str(cold), f"{gb_min:.0f} GB min", f"{100 * cold / max(1, sum(needed)):.2f} %"]
            )
            curves[name] = shares_so_far(out.cold, needed)
    heading = f"Azure Functions, simulated: {plural(len(apps), 'app')}, one day"
    _draw(wanted, curves, heading)
    head = ["policy", "cold starts", "room taken", "of containers needed"]
    return [
        title(heading),
        paragraph(
            f"Minute by minute; expected-use takes a cold start to be worth {1 / PRICE:.1f} GB min, and fixed keeps for "
            "10 min. Starts and prewarms take no time."
        ),
        table(head, lines, right=head[1:]),
    ]


def shares_so_far(cold: Sequence[int], of: Sequence[int]) -> tuple[float, ...]:
    """% that was cold in the first n % of the trace, for n from 0 to 100."""
    found = []
    for step in range(STEPS + 1):
        end = max(1, step * len(cold) // STEPS)
        found.append(100.0 * sum(cold[:end]) / max(1, sum(of[:end])))
    return tuple(found)


def _draw(wanted: WarmWanted, curves: dict[str, tuple[float, ...]], heading: str) -> None:
    if wanted.picture is not None:
        highest = max(value for values in curves.values() for value in values[STEPS // 10 :])
        picture = svg(
            curves,
            f"{heading}: % cold so far",
            across=ACROSS,
            top_percent=5.0 * math.ceil(max(1.0, highest) / 4),
        )
        drawn(wanted.picture, picture)
