"""Reads the first day of Azure Functions 2019 as FeMux derived it: containers that each app needs, minute by minute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingle_simulator.lines import TraceError, lines

CONTAINERS: Final = "containers_per_minute_100apps.csv.gz"
MINUTES: Final = 1440
APPS_MOST: Final = 100_000
MB_PER_GB: Final = 1024.0
CONTAINERS_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class App:
    """`size_gb`: of each container. `needed[minute]`: how many at once."""

    name: str
    size_gb: float
    needed: tuple[int, ...]


def read_apps(folder: Path) -> list[App]:
    """In the order of the file. TraceError names file, line and column of what is wrong."""
    minutes = tuple(f"m{i}" for i in range(MINUTES))
    found = []
    for line in lines(folder / CONTAINERS, ("app", "avg_mem_mb", *minutes), APPS_MOST):
        size_gb = line.real("avg_mem_mb") / MB_PER_GB
        if not size_gb:
            raise TraceError(f"{line.place('avg_mem_mb')}: must be above 0")
        needed = tuple(line.number(minute) for minute in minutes)
        if max(needed) > CONTAINERS_MOST:
            raise TraceError(
                f"{line.path.name} line {line.number_in_file}: more than {CONTAINERS_MOST} at once"
            )
        found.append(App(line.text("app"), size_gb, needed))
    if not found:
        raise TraceError(f"{folder / CONTAINERS}: no app")
    return found
