"""What the load of a pool was: its peak in each quarter of an hour, for two weeks, in 6 KiB."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

STEP_S: Final = 900.0
DAY_STEPS: Final = 96
STEPS: Final = 15 * DAY_STEPS
"""Two weeks, and a day in which something may be missing."""


class LoadHistory:
    """Requests at once of one pool over time; `at_s` are Unix seconds, times that go backwards count as no time.

    A load holds until the next `note` or `lost`; a silence longer than `STEP_S` says nothing of what was in it.
    """

    def __init__(self) -> None:
        self._peaks: NDArray[np.float32] = np.full(STEPS, np.nan, np.float32)
        self._at_s: float | None = None
        self._load: int | None = None

    def note(self, load: int, at_s: float) -> None:
        """The load is `load` from `at_s` on."""
        self._advance(at_s)
        self._load = load
        self._see(int(at_s // STEP_S), load)

    def lost(self, at_s: float) -> None:
        """From `at_s` on the load is not known."""
        self._advance(at_s)
        self._load = None

    def peaks(self, now_s: float) -> NDArray[np.float32]:
        """The last `STEPS` whole steps before `now_s`, oldest first; NaN where nothing is known."""
        self._advance(now_s)
        if self._at_s is None:
            return np.full(STEPS, np.nan, np.float32)
        now = int(self._at_s // STEP_S)
        steps = np.arange(now - STEPS, now)
        peaks: NDArray[np.float32] = self._peaks[steps % STEPS].copy()
        peaks[0] = np.nan  # its place is the open step's
        return peaks

    def _advance(self, at_s: float) -> None:
        """Accounts for the time up to `at_s`."""
        if self._at_s is None:
            self._at_s = at_s
            return
        if at_s <= self._at_s:
            return
        before, now = int(self._at_s // STEP_S), int(at_s // STEP_S)
        load = self._load if at_s - self._at_s <= STEP_S else None
        for step in range(max(before + 1, now - STEPS + 1), now + 1):
            self._peaks[step % STEPS] = np.nan
            if load is not None:
                self._see(step, load)
        self._load = load
        self._at_s = at_s

    def _see(self, step: int, load: int) -> None:
        self._peaks[step % STEPS] = np.fmax(self._peaks[step % STEPS], load)
