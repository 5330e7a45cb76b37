"""One day of 100 Azure functions (`azure-functions-2019-derived`), minute by minute, through the strategies. Simulated.

A cold start: a container needed in a minute beyond those warm. Room: the larger of warm and needed, × its size. The budget
is an argument of ours, as a cluster's room is; its price follows it with the past only, from `FIRST_PRICE` on. As in the
figures compared with, a prewarm is free; `prewarm_charged` is a run in which each takes `CHARGED_MIN` of room more.
"""

from __future__ import annotations

from typing import Final

from bench.parts import Progress, Row
from bench.warming.rows import folder, row
from ingle_core.warmpool.keepalive import ExpectedUse, Fixed, Histogram
from ingle_simulator.functions import MINUTES, read_apps
from ingle_simulator.warm import WITHIN_MINUTE_S
from ingle_simulator.warmbounds import fewest_cold_starts
from ingle_simulator.warmminutes import replay

BUDGET_GB_MIN: Final = 10_200.0
COLD_GOAL: Final = 820
COLD_FLOOR: Final = 968
FIRST_PRICE: Final = 0.5
CHARGED_MIN: Final = 1.0
HALF: Final = MINUTES // 2


def rows(progress: Progress) -> list[Row]:
    apps = read_apps(folder("azure-functions-2019-derived"))
    progress("fixed")
    fixed = replay(Fixed(600.0 + WITHIN_MINUTE_S), apps)
    progress("histogram")
    histogram = replay(Histogram(600.0 + WITHIN_MINUTE_S), apps)
    progress("ours")
    ours = replay(ExpectedUse(FIRST_PRICE), apps, BUDGET_GB_MIN / MINUTES)
    progress("ours, each prewarm takes a minute of room")
    charged = replay(ExpectedUse(FIRST_PRICE), apps, BUDGET_GB_MIN / MINUTES, CHARGED_MIN)
    charged_cold, charged_gb_min = charged.total()
    (cold, gb_min), (fixed_cold, fixed_gb_min) = ours.total(), fixed.total()
    (histogram_cold, histogram_gb_min), starts = histogram.total(), "cold starts"
    bound = fewest_cold_starts(apps, BUDGET_GB_MIN)
    base = "keep-alive 10 min"
    return [
        row("functions_cold (goal)", cold, starts, most=COLD_GOAL, baseline=(base, fixed_cold)),
        row("functions_cold (floor)", cold, starts, most=COLD_FLOOR, baseline=(base, fixed_cold)),
        row("functions_room", gb_min, "GB min", most=BUDGET_GB_MIN, baseline=(base, fixed_gb_min)),
        row("functions_cold_second_half", ours.total(HALF)[0], starts, baseline=(base, fixed.total(HALF)[0])),
        row(
            "functions_room_second_half", ours.total(HALF)[1], "GB min", baseline=(base, fixed.total(HALF)[1])
        ),
        row("functions_cold_histogram", histogram_cold, starts, baseline=(base, fixed_cold)),
        row("functions_room_histogram", histogram_gb_min, "GB min", baseline=(base, fixed_gb_min)),
        row(
            "functions_prewarms",
            sum(ours.prewarms),
            "starts",
            baseline=("histogram", sum(histogram.prewarms)),
        ),
        row(
            "functions_cold_prewarm_charged",
            charged_cold,
            starts,
            most=COLD_GOAL,
            baseline=(base, fixed_cold),
        ),
        row(
            "functions_room_prewarm_charged",
            charged_gb_min,
            "GB min",
            most=BUDGET_GB_MIN,
            baseline=(base, fixed_gb_min),
        ),
        row("functions_cold_bound_without_prewarm (at 10200 GB min)", bound, starts),
    ]
