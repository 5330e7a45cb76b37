"""A free wake slot: who sleeps ahead of need, so that a sleeper beside it can wake at once.

Who is asked for while another has to sleep first waits for both. An engine that is idle sleeps ahead where that saves more
waiting than it costs, in expected seconds per second:

    gain   Σ rate of sleepers that could then wake at once, and could not before × its seconds to sleep
    cost   its own rate × its seconds to wake
    rate   chance of a use (`chance.py`) ÷ seconds since the last use

The rate of what has not been used for t seconds is taken as 1/t: what is known of a Poisson process of unknown rate that was
silent for so long (Jeffreys' prior, 1/rate; the same as Lindy's law): who is used often stays. That a request comes just
while it falls asleep is left out: that takes a use in those few seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ingle_core.warmpool.residue import Occupant

SETTLED: Final = frozenset({"Awake", "Asleep"})
IDLE_LEAST_S: Final = 1.0
WHY: Final = "a sleeper on its GPU is to have room to wake at once"


@dataclass(frozen=True, kw_only=True)
class Neighbour(Occupant):
    """One engine on the node. `moves`: also unused for long enough. `idle_s`: since its last use.

    `chance`: that it is wanted again soon, in [0, 1]. `sleep_s`, `wake_s`: how long that takes.
    """

    idle_s: float
    chance: float
    sleep_s: float
    wake_s: float

    @property
    def rate(self) -> float:
        """Uses per second that are expected of it."""
        return self.chance / max(IDLE_LEAST_S, self.idle_s)


def sleeps_ahead(
    gpus_mib: Mapping[str, int], neighbours: Sequence[Neighbour], spare: Mapping[str, int]
) -> Neighbour | None:
    """The one of the node that sleeps now, None: none is worth it, or one is on its way there.

    `gpus_mib`: MiB that each GPU can give. `spare`: awake engines above what its pool wants awake, by pool.
    """
    if any(one.state == "Sleeping" for one in neighbours):
        return None
    moving = {gpu for one in neighbours if one.state not in SETTLED for gpu in one.gpus}
    able = [o for o in neighbours if o.moves and spare.get(o.pool, 0) > 0 and not moving.intersection(o.gpus)]
    worth = {one.uid: _gain(gpus_mib, neighbours, one) - one.rate * one.wake_s for one in able}
    best = max(able, key=lambda one: (worth[one.uid], one.uid), default=None)
    return best if best is not None and worth[best.uid] > 0 else None


def _gain(gpus_mib: Mapping[str, int], neighbours: Sequence[Neighbour], going: Neighbour) -> float:
    """What sleepers beside it would wait less."""
    helped = (
        one.rate
        for one in neighbours
        if one.state == "Asleep"
        and one.pool != going.pool
        and set(one.gpus) & set(going.gpus)
        and not _could_wake(gpus_mib, neighbours, one, None)
        and _could_wake(gpus_mib, neighbours, one, going)
    )
    return sum(helped) * going.sleep_s


def _could_wake(
    gpus_mib: Mapping[str, int], neighbours: Sequence[Neighbour], one: Neighbour, without: Neighbour | None
) -> bool:
    """Whether it fits awake beside the others as they are, or with one of them asleep."""

    def left_mib(gpu: str) -> int:
        others = (o for o in neighbours if gpu in o.gpus and o.uid != one.uid)
        charged = (o.residue_mib if o is without else o.memory_mib for o in others)
        return gpus_mib.get(gpu, 0) - sum(charged)

    return all(left_mib(gpu) >= one.awake_mib for gpu in one.gpus)
