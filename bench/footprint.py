"""Memory and processor time of each of our processes: without pools, and with 100 of them at rest.

40 pools have an engine asleep, 60 have none; no requests come. Takes 4 to 5 minutes, most of it waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from bench.footprints.usage import Usage, usage_of
from bench.parts import Progress, Row, tell_as
from bench.real.rows import told
from bench.warmreal.lab import Lab, open_lab
from bench.warmreal.pools import names, pool
from ingle_kit.kube import Object
from ingle_kit.names import POD, SYSTEM_NAMESPACE

POOLS: Final = 100
SLEEPERS: Final = 40
TIME_SCALE: Final = 0.05
WINDOW_S: Final = 60.0
QUIET_S: Final = 10.0
LIMIT_S: Final = 180.0
AS_SHIPPED: Final = {
    "INGLE_LEASE_DURATION_S": "15",
    "INGLE_LEASE_RENEW_S": "2",
    "INGLE_ORPHAN_S": "60",
    "INGLE_SCHEDULER_LEASE_S": "15",
}

Footprint = Mapping[str, Usage]
"""By container: memory at the end of a window, and processor seconds a minute in it."""


def measure() -> list[Row]:
    """Both states, one after the other in one lab."""
    return asyncio.run(_measure(tell_as("footprint")))


async def _measure(tell: Progress) -> list[Row]:
    async with open_lab(TIME_SCALE, tell, **AS_SHIPPED) as lab:
        idle = await _at_rest(lab)
        await lab.apply(_pools())
        await lab.asleep(names(SLEEPERS), LIMIT_S)
        full = await _at_rest(lab)
    return [*rows("without pools", idle), *rows(f"{POOLS} pools", full)]


def _pools() -> list[Object]:
    made = names(POOLS)
    return [
        pool(name, asleep=int(number < SLEEPERS), idle_s=1, hold_s=60) for number, name in enumerate(made)
    ]


async def _at_rest(lab: Lab) -> Footprint:
    """Waits until no engine has been told anything for a while, then looks for one window."""
    await lab.until("quiet", partial(_quiet, lab), LIMIT_S)
    before, began_s = await _look(lab), time.monotonic()
    lab.tell(f"looking for {WINDOW_S:g} s at {', '.join(sorted({name for name, _ in before}))}")
    await asyncio.sleep(WINDOW_S)
    after, minutes = await _look(lab), (time.monotonic() - began_s) / 60
    return most(in_a_minute(before, after, minutes))


def _quiet(lab: Lab) -> bool:
    last_s = max((moved_s for moves in lab.moves.history.values() for moved_s, _ in moves), default=0.0)
    return lab.moves.clock() - last_s > QUIET_S


async def _look(lab: Lab) -> dict[tuple[str, str], Usage]:
    """What each container of ours uses, by container and pod."""
    pods, _ = await lab.scene.stack.api.list(POD, SYSTEM_NAMESPACE)
    found = {}
    for pod in pods:
        for status in pod["status"]["containerStatuses"]:
            key = (status["name"], pod["metadata"]["name"])
            found[key] = usage_of(await lab.scene.stack.pid(key[1], key[0]))
    return found


def in_a_minute(
    before: Mapping[tuple[str, str], Usage], after: Mapping[tuple[str, str], Usage], minutes: float
) -> list[tuple[str, Usage]]:
    """Memory as it is after, processor time by the minute. A process that was not there before is left out."""
    return [
        (key[0], Usage(now.rss_mib, now.pss_mib, (now.cpu_s - before[key].cpu_s) / minutes))
        for key, now in after.items()
        if key in before
    ]


def most(found: Iterable[tuple[str, Usage]]) -> dict[str, Usage]:
    """Of a container that runs in several pods, the largest of each figure."""
    largest: dict[str, Usage] = {}
    for name, usage in found:
        other = largest.get(name, Usage())
        largest[name] = Usage(
            max(usage.rss_mib, other.rss_mib),
            max(usage.pss_mib, other.pss_mib),
            max(usage.cpu_s, other.cpu_s),
        )
    return largest


def rows(state: str, footprint: Footprint) -> list[Row]:
    """Memory of every process, then processor time of every process."""
    memory = [
        told(
            f"{name}, {state}: memory",
            round(used.rss_mib, 1),
            "MiB",
            baseline="MiB with shared pages shared out",
            baseline_value=round(used.pss_mib, 1),
        )
        for name, used in sorted(footprint.items())
    ]
    time_s = [
        told(f"{name}, {state}: processor", round(used.cpu_s, 2), "s a minute")
        for name, used in sorted(footprint.items())
    ]
    return memory + time_s
