"""The most load of the last while, in little memory: a load counts until the moment it changed."""

from __future__ import annotations

from collections import deque

ENTRIES_MAX = 4096


class Peaks:
    """Loads of one pool over time. `at_s` must not go backwards; times are seconds on one clock."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, int]] = deque(maxlen=ENTRIES_MAX)  # (end, load), loads fall
        self.load = 0

    def note(self, load: int, at_s: float) -> None:
        """The load is `load` from `at_s` on."""
        if load == self.load:
            return
        while self._ended and self._ended[-1][1] <= self.load:
            self._ended.pop()
        self._ended.append((at_s, self.load))
        self.load = load

    def over(self, window_s: float, now_s: float) -> int:
        """The most load at any moment of the last `window_s`; what is older is forgotten."""
        while self._ended and self._ended[0][0] < now_s - window_s:
            self._ended.popleft()
        return max(self.load, self._ended[0][1] if self._ended else 0)
