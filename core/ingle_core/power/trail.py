"""Which allotments a node may still act on: those written since the one it last said it obeys.

A reading below a new, lower allotment proves nothing while the node has not seen that allotment: it may
still raise its limits to the old one. So an old allotment is charged until the node reports the revision of
a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trail:
    """(ledger revision, allotment in W; None = none or not known), oldest first."""

    entries: tuple[tuple[int, int | None], ...] = ()


def follow(trail: Trail, revision: int, allotted_w: int | None, observed_revision: int) -> Trail:
    """The trail after reading the ledger at `revision` and hearing the node's `observed_revision`.

    Call it with every fact that changes. The first call on a fresh trail, with a node that is behind, knows
    nothing of what stood before: that counts as no allotment (the node's maximum).
    """
    entries = list(trail.entries)
    if not entries and observed_revision < revision:
        entries.append((observed_revision, None))
    if not entries or (revision > entries[-1][0] and allotted_w != entries[-1][1]):
        entries.append((revision, allotted_w))
    while len(entries) > 1 and entries[1][0] <= observed_revision:
        entries.pop(0)
    return Trail(tuple(entries))


def held_w(trail: Trail, max_w: int) -> int:
    """The largest allotment that the node may still act on, in W; `max_w` where one is none or unknown."""
    return max((max_w if watts is None else watts for _, watts in trail.entries), default=max_w)
