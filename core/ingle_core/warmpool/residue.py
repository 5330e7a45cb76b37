"""Sleepers that a node is better off without: their residues crowd a GPU, or none of them could wake.

Two rules, the second after the first:

    cap    Σ residues of sleepers on a GPU ≤ cap × what it can give
    slot   some sleeper, the largest of its GPUs, fits awake on them beside all that is busy or in transition, once
           engines that are idle there sleep

Sleepers above their pools' floors stop, the least worth first, and none where that would not help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ASLEEP: Final = frozenset({"Asleep", "Sleeping"})


@dataclass(frozen=True)
class Occupant:
    """One engine on the node. `memory_mib`: charged on each of its GPUs; `asleep_mib`, `awake_mib`: what it would be.

    `state`: the ledger's word. `moves`: awake, with nothing to do, and able to sleep. `worth`: of keeping it, ≥ 0.
    """

    uid: str
    pool: str
    gpus: tuple[str, ...]
    state: str
    memory_mib: int
    asleep_mib: int
    awake_mib: int
    moves: bool = False
    worth: float = 0.0

    @property
    def asleep(self) -> bool:
        return self.state in ASLEEP

    @property
    def residue_mib(self) -> int:
        """On each GPU once it sleeps."""
        return min(self.memory_mib, self.asleep_mib) if self.state != "Asleep" else self.memory_mib


def surplus(
    gpus_mib: Mapping[str, int], occupants: Sequence[Occupant], spare: Mapping[str, int], cap_fraction: float
) -> dict[str, str]:
    """Sleepers to stop, with why. `gpus_mib`: MiB that each GPU can give. `spare`: engines above its floor, by pool."""
    chosen: dict[str, str] = {}
    left = Counter(spare)

    def stop(one: Occupant, why: str) -> None:
        chosen[one.uid] = why
        left[one.pool] -= 1

    for gpu, size_mib in sorted(gpus_mib.items()):
        for one in _least_worth([o for o in occupants if gpu in o.gpus], chosen):
            if _residues_mib(occupants, chosen, gpu) <= cap_fraction * size_mib:
                break
            if left[one.pool] > 0:
                stop(one, f"sleepers hold more than {cap_fraction:.0%} of its GPU")
    for one in _for_a_slot(gpus_mib, occupants, chosen, left):
        stop(one, "none of its node's sleepers has room to wake")
    return chosen


def has_slot(gpus_mib: Mapping[str, int], occupants: Sequence[Occupant], without: Mapping[str, str]) -> bool:
    """Whether one sleeper can wake although nothing busy sleeps; true where there is no sleeper."""
    sleepers = [o for o in occupants if o.asleep and o.uid not in without]
    largest: dict[tuple[str, ...], Occupant] = {}
    for one in sorted(sleepers, key=lambda o: o.awake_mib):
        largest[tuple(sorted(one.gpus))] = one
    staying = [o for o in occupants if o.uid not in without]
    return not largest or any(_fits_awake(gpus_mib, staying, one) for one in largest.values())


def _fits_awake(gpus_mib: Mapping[str, int], staying: Sequence[Occupant], one: Occupant) -> bool:
    def free_mib(gpu: str) -> int:
        others = (o for o in staying if gpu in o.gpus and o.uid != one.uid)
        return gpus_mib.get(gpu, 0) - sum(
            o.residue_mib if o.moves or o.asleep else o.memory_mib for o in others
        )

    return all(free_mib(gpu) >= one.awake_mib for gpu in one.gpus)


def _for_a_slot(
    gpus_mib: Mapping[str, int], occupants: Sequence[Occupant], chosen: Mapping[str, str], left: Counter[str]
) -> list[Occupant]:
    """The fewest of the least worth whose end gives a slot; none where none is missing or it cannot be had."""
    going, spare = dict(chosen), Counter(left)
    stopped: list[Occupant] = []
    for one in [*_least_worth(occupants, chosen), None]:
        if has_slot(gpus_mib, occupants, going):
            return stopped if any(o.asleep and o.uid not in going for o in occupants) else []
        if one is not None and spare[one.pool] > 0:
            going[one.uid] = ""
            spare[one.pool] -= 1
            stopped.append(one)
    return []


def _least_worth(occupants: Sequence[Occupant], chosen: Mapping[str, str]) -> list[Occupant]:
    found = [o for o in occupants if o.state == "Asleep" and o.uid not in chosen]
    return sorted(found, key=lambda o: (o.worth, o.uid))


def _residues_mib(occupants: Sequence[Occupant], chosen: Mapping[str, str], gpu: str) -> int:
    return sum(o.residue_mib for o in occupants if o.asleep and o.uid not in chosen and gpu in o.gpus)
