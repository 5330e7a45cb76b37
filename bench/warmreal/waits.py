"""What a held request waited for, from what the ledgers say of its engine and of those beside it. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

FALLING: Final = "its engine falling asleep"
ROOM: Final = "another engine giving way on its GPUs"
BESIDE: Final = "another engine waking or starting on its GPUs"
DECIDING: Final = "the operator"
WAKING: Final = "a wake longer than its profile's"
STARTING: Final = "a start"
AFTER: Final = "prompts and router once it was awake"
CAUSES: Final = (FALLING, ROOM, BESIDE, DECIDING, WAKING, STARTING, AFTER)
_BY_STATE: Final = (("Awake", AFTER), ("Waking", WAKING), ("Sleeping", FALLING), ("Starting", STARTING))
_GIVES_WAY: Final = frozenset(("Sleeping", "Stopping"))
_TRANSITIONS: Final = _GIVES_WAY | {"Waking", "Starting"}


@dataclass(frozen=True)
class Told:
    """An engine's state from `at_s` on; empty once it is gone. `gpus`: their UUIDs."""

    at_s: float
    uid: str
    pool: str
    state: str
    gpus: frozenset[str] = frozenset()


def spent(told: Sequence[Told], pool: str, from_s: float, until_s: float) -> dict[str, float]:
    """Seconds between the two moments by cause, for a pool of one engine; `told` in the order of time.

    A state lasts from when its ledger entry was seen: what an entry takes to be seen counts for the state before it.
    """
    moments = sorted({from_s, until_s, *(one.at_s for one in told if from_s < one.at_s < until_s)})
    now: dict[str, Told] = {}
    place, seconds = 0, dict.fromkeys(CAUSES, 0.0)
    for start_s, end_s in itertools.pairwise(moments):
        while place < len(told) and told[place].at_s <= start_s:
            now[told[place].uid] = told[place]
            place += 1
        seconds[_cause(now.values(), pool)] += end_s - start_s
    return seconds


def blamed(seconds: Mapping[str, float], wake_s: float) -> str:
    """What cost most beside the wake itself."""
    beyond = {cause: seconds[cause] - (wake_s if cause == WAKING else 0.0) for cause in CAUSES}
    return max(CAUSES, key=lambda cause: beyond[cause])


def _cause(engines: Iterable[Told], pool: str) -> str:
    here = list(engines)
    mine = [one for one in here if one.pool == pool and one.state]
    for state, cause in _BY_STATE:
        if any(one.state == state for one in mine):
            return cause
    gpus = frozenset[str]().union(*(one.gpus for one in mine))
    beside = {one.state for one in here if one.pool != pool and one.gpus & gpus}
    if beside & _GIVES_WAY:
        return ROOM
    return BESIDE if beside & _TRANSITIONS else DECIDING
