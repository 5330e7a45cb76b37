"""Values of metric labels that come from objects: bounded, so that no number of pools makes a process grow."""

from __future__ import annotations

from typing import Final

OTHER: Final = "other"
POOLS_MAX: Final = 1000


class BoundedLabel:
    """The first `most` values keep their names, later ones are `OTHER` until one of those is let go."""

    def __init__(self, most: int = POOLS_MAX) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value

    def let_go(self, value: str) -> bool:
        """Whether it had a name of its own: its series can go too."""
        if value not in self._known:
            return False
        self._known.remove(value)
        return True
