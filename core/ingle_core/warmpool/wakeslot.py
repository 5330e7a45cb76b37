"""A free wake slot: who sleeps ahead of need, so that a sleeper beside it can wake at once.

Who is asked for while another has to sleep first waits for both. An engine that is idle sleeps ahead where that saves more
waiting than it costs, in expected seconds per second:

    gain   Σ rate of sleepers that could then wake at once, and could not before × its seconds to sleep
    cost   its own rate × its seconds to wake
    rate   uses of its pool per second (`userate.py`)

That a request comes just while it falls asleep is left out: that takes a use in those few seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ingle_core.warmpool.residue import Occupant

SETTLED: Final = frozenset({"Awake", "Asleep"})
WHY: Final = "a sleeper on its GPU is to have room to wake at once"


@dataclass(frozen=True, kw_only=True)
class Neighbour(Occupant):
    """One engine on the node. `moves`: also unused for long enough. `rate`: uses per second that are expected of it.

    `sleep_s`, `wake_s`: how long that takes.
    """

    rate: float
    sleep_s: float
    wake_s: float


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
