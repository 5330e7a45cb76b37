"""When kube-scheduler is to look again at a pod that fits nowhere, as room comes and goes in the ledgers.

The scheduler's extender watches the ledgers for itself. It may hear of a change after the pod has been looked at again
because of it; then nobody would look once more for five minutes. So each change is told twice. What was known when the
pod was first seen waiting is most likely why it waits, and is told once only, later.
"""

from __future__ import annotations

from typing import Final, NamedTuple

EVERY_S: Final = 1.0
"""At most so often per pod; and how long after the first time the same change is told again."""
AGAIN: Final = "+"


class Told(NamedTuple):
    """What a pod was told: a name for the state of all ledgers, when, how often; 0 times: it was only seen waiting."""

    change: str
    at_s: float
    times: int


class Look(NamedTuple):
    """`write`: what the pod's annotation is to say now, so that it is looked at. `told`: to be handed in next time.
    `again_s`: ask again after so long; None: not until the ledgers change."""

    write: str | None
    told: Told
    again_s: float | None


def look(change: str, told: Told | None, now_s: float) -> Look:
    """`change` names the state of all ledgers now. Times of one clock, in seconds."""
    if told is None:
        return Look(None, Told(change, now_s, 0), EVERY_S)
    known, wait_s = told.change == change, told.at_s + EVERY_S - now_s
    if known and told.times == 2:
        return Look(None, told, None)
    if wait_s > 0 and (known or told.times):
        return Look(None, told, wait_s)
    if known:
        return Look(change + AGAIN, Told(change, now_s, 2), None)
    return Look(change, Told(change, now_s, 1), EVERY_S)
