"""Where learning helps and where it does not: made workloads of 40 apps and one day, at the same room. Simulated.

Beside ours stands the shortest fixed keep-alive that takes at least as much room, so it has a little more.
"""

from __future__ import annotations

from typing import Final

from bench.parts import Progress, Row
from bench.warming.rows import row
from ingle_core.warmpool.keepalive import ExpectedUse, Fixed
from ingle_simulator.warm import PRICE, WITHIN_MINUTE_S
from ingle_simulator.warmmade import WORKLOADS, apps
from ingle_simulator.warmminutes import MINUTE_S, replay

APPS: Final = 40
SEED: Final = 1
KEEP_MOST_MIN: Final = 240


def rows(progress: Progress) -> list[Row]:
    found = []
    for workload in WORKLOADS:
        progress(workload)
        made = apps(workload, APPS, SEED)
        cold, gb_min = replay(ExpectedUse(PRICE), made).total()
        low, high = 0, KEEP_MOST_MIN
        while low < high:
            middle = (low + high) // 2
            room = replay(Fixed(middle * MINUTE_S + WITHIN_MINUTE_S), made).total()[1]
            low, high = (low, middle) if room >= gb_min else (middle + 1, high)
        fixed_cold, fixed_gb_min = replay(Fixed(low * MINUTE_S + WITHIN_MINUTE_S), made).total()
        base = f"keep-alive {low} min"
        found += [
            row(f"made_{workload}_cold", cold, "cold starts", baseline=(base, fixed_cold)),
            row(f"made_{workload}_room", gb_min, "GB min", baseline=(base, fixed_gb_min)),
        ]
    return found
