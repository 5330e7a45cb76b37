"""When a pool is wanted: for each hour of the day (UTC) the share of it in which a replica is wanted awake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HOURS: Final = 24
HOUR_S: Final = 3600.0
NEW_SHARE: Final = 0.25
"""Weight of the last day against all before: after four days two thirds of a profile is theirs."""
SEEN_MIN_S: Final = HOUR_S / 2
GAP_MAX_S: Final = HOUR_S
"""A longer silence than this says nothing about what was wanted in it."""


class DemandProfile:
    """One pool's demand. `at_s` are Unix seconds; times that go backwards count as no time.

    wanted = there is load, or there was within `hold_s`, the time after which an idle replica sleeps. An hour counts
    once it is over and at least half of it was seen; value ← value + ¼ × (share − value), the first share as it is.
    """

    def __init__(self, percent: Sequence[int] = (), at_s: float = 0.0) -> None:
        """`percent`: what an earlier process published, 24 values; anything else is a start from nothing."""
        known = len(percent) == HOURS and all(0 <= value <= 100 for value in percent)
        self._shares: list[float | None] = [v / 100 for v in percent] if known else [None] * HOURS
        self._published = tuple(percent) if known else ()
        self._ended = False
        self._seen_to_s = at_s
        self._wanted_until_s = at_s
        self._load = 0
        self._seen_s = self._wanted_s = 0.0

    def note(self, load: int, at_s: float, hold_s: float) -> None:
        """The load is `load` from `at_s` on; `hold_s`: how long an idle replica stays awake."""
        self._look(at_s)
        if load or self._load:
            self._wanted_until_s = at_s + hold_s
        self._load = load

    def percent(self, at_s: float) -> tuple[int, ...]:
        """24 whole percents, changed at most once an hour; empty while no hour is known.

        An hour that was never seen has the mean of those that were.
        """
        self._look(at_s)
        if self._ended:
            self._ended = False
            known = [share for share in self._shares if share is not None]
            if not known:
                return ()
            mean = sum(known) / len(known)
            self._published = tuple(round(100 * (mean if s is None else s)) for s in self._shares)
        return self._published

    def _look(self, at_s: float) -> None:
        """Accounts for the time up to `at_s`. Without note or look for long, that time is left out."""
        if at_s - self._seen_to_s > GAP_MAX_S:
            self._seen_to_s, self._seen_s, self._wanted_s = at_s, 0.0, 0.0
        while self._seen_to_s < at_s:
            end_s = min(at_s, (self._seen_to_s // HOUR_S + 1) * HOUR_S)
            until_s = end_s if self._load else min(end_s, self._wanted_until_s)
            self._seen_s += end_s - self._seen_to_s
            self._wanted_s += max(0.0, until_s - self._seen_to_s)
            hour = int(self._seen_to_s // HOUR_S) % HOURS
            self._seen_to_s = end_s
            if end_s % HOUR_S == 0:
                self._close(hour)

    def _close(self, hour: int) -> None:
        if self._seen_s >= SEEN_MIN_S:
            self._ended = True
            share, old = self._wanted_s / self._seen_s, self._shares[hour]
            self._shares[hour] = share if old is None else old + NEW_SHARE * (share - old)
        self._seen_s = self._wanted_s = 0.0
