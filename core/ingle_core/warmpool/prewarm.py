"""Replicas that are awake by the clock: cron with a time zone, held for some minutes after each firing.

Cron as Debian has it: where clocks are set forward, what was due in the gap fires at its end; where they are set back, a
fixed time fires once, at its first occurrence, and a wildcard (`*/20 2 * * *`) at both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

MINUTE_S: Final = 60


@dataclass(frozen=True)
class Prewarm:
    """`replicas` awake for `minutes` from each firing of `cron` (five fields) in `zone` (IANA)."""

    cron: str
    zone: str
    replicas: int
    minutes: int


@dataclass(frozen=True)
class Ahead:
    """Replicas to have awake before anybody asks, and why."""

    replicas: int = 0
    reason: str = ""


def zone_fault(zone: str) -> str | None:
    """What is wrong with the name of a time zone, None: nothing."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"no time zone {zone!r}: use a name of the IANA database, such as Europe/Berlin or UTC"
    return None


def cron_fault(cron: str) -> str | None:
    """What is wrong with five fields of cron, None: nothing."""
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"{error} in {cron!r}: write minute, hour, day of month, month, day of week"
    except StopIteration:
        return f"{cron!r} never fires: correct day of month or month"
    return None


def ahead(prewarms: Sequence[Prewarm], now_s: float) -> Ahead:
    """The most replicas that a prewarm holds at `now_s` (Unix seconds). What cannot be read holds none."""
    best = Ahead()
    for one in prewarms:
        if one.replicas > best.replicas and _holds(one, int(now_s // MINUTE_S)):
            best = Ahead(one.replicas, f"prewarm by {one.cron} ({one.zone})")
    return best


@lru_cache(maxsize=4096)
def _holds(one: Prewarm, now_minute: int) -> bool:
    """Whether it has fired within its minutes; firings are on whole minutes, so that the minute says it all."""
    now_s = now_minute * MINUTE_S
    after_s = now_s - one.minutes * MINUTE_S
    try:
        for fired in CronSim(one.cron, datetime.fromtimestamp(after_s, ZoneInfo(one.zone))):
            # begun within the hour that comes twice, the first may lie before
            if fired.timestamp() > after_s:
                return fired.timestamp() <= now_s
    except (CronSimError, ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return False
