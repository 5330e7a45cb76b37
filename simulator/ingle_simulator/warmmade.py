"""Made workloads, minute by minute, to see where learning helps and where a fixed keep-alive is as good. Luck is a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from ingle_simulator.functions import App

MINUTES: Final = 1440
SIZE_GB: Final = 0.25


def apps(workload: str, count: int, seed: int, minutes: int = MINUTES) -> list[App]:
    """`count` apps of one kind, each with luck of its own."""
    make = WORKLOADS[workload]
    return [
        App(f"{workload}{i}", SIZE_GB, tuple(make(random.Random(f"{seed}/{workload}/{i}"), minutes)))
        for i in range(count)
    ]


def steady(luck: random.Random, minutes: int) -> list[int]:
    """Poisson: the same chance in each minute, once in 4 to 40 min."""
    chance = 1 / luck.uniform(4, 40)
    return [int(luck.random() < chance) for _ in range(minutes)]


def alike(luck: random.Random, minutes: int) -> list[int]:
    """Poisson, all apps once in 12 min: there is nothing to learn about any of them."""
    return [int(luck.random() < 1 / 12) for _ in range(minutes)]


def cron(luck: random.Random, minutes: int) -> list[int]:
    """Every 15, 30 or 60 min, one in ten a minute late."""
    period = luck.choice((15, 30, 60))
    found = [0] * minutes
    for at in range(luck.randrange(period), minutes, period):
        found[min(minutes - 1, at + int(luck.random() < 0.1))] = 1
    return found


def bursty(luck: random.Random, minutes: int) -> list[int]:
    """Half an hour of a use each two minutes or so, then one to four hours of none."""
    found: list[int] = []
    while len(found) < minutes:
        found += [0] * luck.randrange(60, 240)
        found += [int(luck.random() < 0.5) for _ in range(30)]
    return found[:minutes]


def one_shot(luck: random.Random, minutes: int) -> list[int]:
    """Used three times in the day, at any time."""
    found = [0] * minutes
    for _ in range(3):
        found[luck.randrange(minutes)] = 1
    return found


def turning(luck: random.Random, minutes: int) -> list[int]:
    """A period that changes at noon: what was learned is wrong."""
    first, then = luck.sample((7, 11, 13, 17, 23), 2)
    return [int(minute % (first if minute < minutes // 2 else then) == 0) for minute in range(minutes)]


WORKLOADS: Final[dict[str, Callable[[random.Random, int], list[int]]]] = {
    "steady": steady,
    "alike": alike,
    "cron": cron,
    "bursty": bursty,
    "one_shot": one_shot,
    "turning": turning,
}
