"""`replay placement`: how much of all GPUs each policy allocates, as more and more is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingle_cli.failures import Failure
from ingle_cli.replay.picture import check_name, drawn, svg
from ingle_cli.replay.progress import progress_on, teller
from ingle_cli.text import Shown, paragraph, plural, table, title
from ingle_simulator import openb
from ingle_simulator.placement import FIRST_SEED, POLICIES, RATIO, Curve, mean_curve, replay

STEP_PERCENT: Final = 10
BARS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to replay: the trace's folder, a list of pods in it, how many seeds, which policies, where to draw."""

    trace: Path
    pods: str = openb.DEFAULT
    seeds: int = 1
    policies: tuple[str, ...] = tuple(POLICIES)
    picture: Path | None = None


def replayed(wanted: Wanted, progress_to: Console) -> Shown:
    """Replays all seeds of all policies, and draws. Raises Failure where the trace or a name is wrong."""
    _check(wanted)
    try:
        nodes, pods = openb.read_nodes(wanted.trace), openb.read_pods(wanted.trace, wanted.pods)
        if not any(node.gpus for node in nodes) or not any(pod.gpus for pod in pods):
            raise Failure(
                f"{wanted.trace}: no GPU in the nodes, or none asked by the pods of `{wanted.pods}`."
            )
    except openb.TraceError as error:
        raise Failure(f"{error}.") from error
    curves = {name: _curves(name, nodes, pods, wanted.seeds, progress_to) for name in wanted.policies}
    means = {name: mean_curve(runs) for name, runs in curves.items()}
    if wanted.picture is not None:
        drawn(wanted.picture, svg(means, f"openb {wanted.pods}, {plural(wanted.seeds, 'seed')}"))
    gpus = sum(node.gpus for node in nodes)
    heading = f"openb, list {wanted.pods}: {plural(len(nodes), 'node')}, {plural(gpus, 'GPU')}, "
    return [
        title(heading + plural(wanted.seeds, "seed")),
        paragraph(
            "% of all GPUs allocated, once the pods that came ask for so many % of them; nothing ends."
        ),
        _table(means),
        *_figures(curves, means),
    ]


def _check(wanted: Wanted) -> None:
    unknown = [name for name in wanted.policies if name not in POLICIES]
    if unknown:
        raise Failure(f"--policy {unknown[0]!r}: there are {', '.join(POLICIES)}.")
    check_name(wanted.picture)


def _curves(
    name: str, nodes: Sequence[openb.TraceNode], pods: Sequence[openb.TracePod], seeds: int, console: Console
) -> list[Curve]:
    found = []
    with progress_on(console) as progress:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            task = progress.add_task(f"{name}, seed {seed}", total=None)
            found.append(replay(name, nodes, pods, seed=seed, progress=teller(progress, task)))
    return found


def _table(means: dict[str, tuple[float, ...]]) -> Table:
    at = range(STEP_PERCENT, round(100 * RATIO) + 1, STEP_PERCENT)
    rows = [[f"{percent} %", *(f"{mean[percent]:.1f}" for mean in means.values())] for percent in at]
    return table(["asked", *means], rows, right=["asked", *means])


def _figures(curves: dict[str, list[Curve]], means: dict[str, tuple[float, ...]]) -> Shown:
    lines: Shown = []
    for name, runs in curves.items():
        final = sum(run.final_percent for run in runs) / len(runs)
        rate = sum(run.pods for run in runs) / max(1e-9, sum(run.took_s for run in runs))
        refused = round(sum(run.refused for run in runs) / len(runs))
        bars = "".join(BARS[min(8, int(value * 8 / 100))] for value in means[name][::STEP_PERCENT])
        lines.append(
            Text(f"{name:>8} {bars} {final:.2f} % in the end, {refused} pods refused, {rate:.0f} pods/s")
        )
    return lines
