"""How much of all GPUs is allocated when 130 % is asked: our `rank` over the openb trace, beside FGD and best fit.

Where the authors of FGD published runs (10 seeds), their means are the baseline, else our own FGD over the same
arrivals. The value is a mean over seeds; those of the authors are other shuffles, so own FGD is a row too for `default`.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from ingle_simulator import openb
from ingle_simulator.placement import FIRST_SEED, replay

TARGET_PERCENT: Final = 95.3
BELOW_FGD_PERCENT: Final = 0.2
SEEDS: Final = 10
SEEDS_WITHOUT_REFERENCE: Final = 2
EXPECTED: Final = Path("expected") / "analysis_allo_discrete.csv.gz"
AUTHORS: Final = {"06-FGD": "fgd", "05-BestFit": "best-fit"}
AUTHORS_FGD: Final = "FGD, its authors' runs"
AUTHORS_BEST_FIT: Final = "best fit, FGD's authors' runs"
OWN_FGD: Final = "FGD, own, same arrivals"
Progress = Callable[[str], None]
Means = dict[tuple[str, str], float]  # (list, policy): % allocated


@dataclass(frozen=True, slots=True)
class Run:
    """One replay."""

    pods: str
    policy: str
    seed: int


def folder() -> Path:
    return Path(os.environ.get("INGLE_DATA", "../shared/data")) / "alibaba-openb-2023"


def rows(
    progress: Progress, lists: Sequence[str] | None = None, seeds: int = SEEDS, processes: int | None = None
) -> list[dict[str, Any]]:
    """Result rows. `lists` None: all of the trace. `processes` None: BENCH_PROCESSES, by default 2."""
    names = list(lists) if lists is not None else openb.lists(folder())
    authors = published(folder() / EXPECTED)
    count = processes or int(os.environ.get("BENCH_PROCESSES", "2"))
    means = _means(_runs(names, authors, seeds), count, progress)
    found: list[dict[str, Any]] = []
    for name in names:
        own = means.get((name, "fgd"))
        baseline = authors.get((name, "fgd"), own)
        source = AUTHORS_FGD if (name, "fgd") in authors else OWN_FGD
        target = TARGET_PERCENT if name == openb.DEFAULT else round((baseline or 0.0) - BELOW_FGD_PERCENT, 2)
        found.append(_row(f"packing_{name}", means[name, "ingle"], target, source, baseline))
        if name == openb.DEFAULT:
            theirs = authors.get((name, "best-fit"))
            found.append(_row("packing_default_own_fgd", means[name, "fgd"], None, source, baseline))
            found.append(
                _row("packing_default_own_best_fit", means[name, "best-fit"], None, AUTHORS_BEST_FIT, theirs)
            )
    return found


def published(path: Path) -> Means:
    """The authors' means over their seeds at 130 % asked, by list and policy; none where the file is absent."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    if path.is_file():
        with gzip.open(path, "rt", newline="") as file:
            for line in csv.DictReader(file):
                if line["sc_policy"] in AUTHORS:
                    name = line["workload"].removeprefix(openb.PODS)
                    found[name, AUTHORS[line["sc_policy"]]].append(float(line["130"]))
    return {key: sum(values) / len(values) for key, values in found.items()}


def _runs(names: Sequence[str], authors: Means, seeds: int) -> list[Run]:
    """Ours on every list; own FGD where no authors' run is known; all policies on the default list."""
    runs = []
    for name in names:
        known = (name, "fgd") in authors
        policies = (
            ("ingle", "fgd", "best-fit")
            if name == openb.DEFAULT
            else ("ingle",)
            if known
            else ("ingle", "fgd")
        )
        count = seeds if known else min(seeds, SEEDS_WITHOUT_REFERENCE)
        runs += [Run(name, policy, FIRST_SEED + i) for policy in policies for i in range(count)]
    return runs


def _means(runs: Sequence[Run], processes: int, progress: Progress) -> Means:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_final_percent, folder(), run): run for run in runs}
        for done, future in enumerate(as_completed(waiting), 1):
            run = waiting[future]
            values[run.pods, run.policy].append(future.result())
            progress(f"{done}/{len(runs)} {run.pods}, {run.policy}, seed {run.seed}: {future.result():.2f} %")
    return {key: sum(found) / len(found) for key, found in values.items()}


def _final_percent(trace: Path, run: Run) -> float:
    nodes, pods = openb.read_nodes(trace), openb.read_pods(trace, run.pods)
    return replay(run.policy, nodes, pods, seed=run.seed).final_percent


def _row(
    name: str, value: float, target: float | None, baseline: str, baseline_value: float | None
) -> dict[str, Any]:
    known = baseline_value is not None
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "% of GPUs",
        "target": None if target is None else f">= {target:g}",
        "met": None if target is None else round(value, 2) >= target,
        "baseline": baseline if known else None,
        "baseline_value": round(baseline_value, 2) if baseline_value is not None else None,
    }
