"""Water-filling: share an amount so that nobody gets more than it has room for, and the least get most."""

from __future__ import annotations

from collections.abc import Sequence


def fill(amount_w: int, rooms_w: Sequence[int]) -> list[int]:
    """Max-min fair parts of `amount_w`, none above its room. Sum = min(amount, Σ rooms), never below 0.

    Everyone gets the same until its room is full. Watts that do not divide go to the first in order, so
    callers sort by name to be deterministic. Rooms below 0 count as 0.
    """
    parts = [0] * len(rooms_w)
    left = max(0, amount_w)
    by_room = sorted(range(len(rooms_w)), key=lambda i: (max(0, rooms_w[i]), i))
    for at, i in enumerate(by_room):
        room = max(0, rooms_w[i])
        even = left // (len(by_room) - at)
        if room > even:
            _spread(left, by_room[at:], parts)
            return parts
        parts[i] = room
        left -= room
    return parts


def _spread(left_w: int, who: Sequence[int], parts: list[int]) -> None:
    """Nobody in `who` is filled by an even part: an even part each, the odd watts to the first in order."""
    even, odd = divmod(left_w, len(who))
    for at, i in enumerate(sorted(who)):
        parts[i] = even + (1 if at < odd else 0)


def fill_levels(amount_w: int, floors_w: Sequence[int], levels_w: Sequence[Sequence[int]]) -> list[int]:
    """Floors first, whatever the amount; then up to each level in turn, each level water-filled."""
    parts = list(floors_w)
    for level in levels_w:
        rooms = [want - have for want, have in zip(level, parts, strict=True)]
        for i, more in enumerate(fill(amount_w - sum(parts), rooms)):
            parts[i] += more
    return parts
