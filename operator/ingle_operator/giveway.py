"""Who gives way to whom, and the room that is kept meanwhile: written with the very change that frees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ingle_core.ledger import (
    TRANSITIONS,
    Ledger,
    LedgerError,
    Op,
    PodRef,
    applied,
    claim,
    difference,
    fits,
    move,
)
from ingle_core.placement import Assumed
from ingle_core.warmpool.facts import State

GIVE_WAY_S = 120.0  # longer than that nobody is kept from what its own pool wants
AGAIN_AFTER_S = 300.0  # who did not get there in time is left alone for so long


@dataclass(frozen=True)
class GivesWay:
    """An engine's goal while another one waits for its room; it wins over the pool's plan until `until_s`.

    `drops`: asleep, but without its weights in host memory.
    """

    goal: State
    text: str
    waiter: str
    until_s: float
    drops: bool = False

    def holds(self, now_s: float) -> bool:
        return now_s < self.until_s

    def over(self, now_s: float) -> bool:
        """It may be asked again."""
        return now_s >= self.until_s + AGAIN_AFTER_S


@dataclass(frozen=True)
class Reservation:
    """Room on a node for one engine: a new pod's claim (Starting) or a sleeper's wake (Waking).

    `memory_mib` and `watts` are what it will be charged on each GPU, `more_mib` what that is above its charge now.
    `order`: who comes first where not all fit, least first.
    """

    uid: str
    pool: str
    node: str
    gpus: tuple[str, ...]
    state: Literal["Starting", "Waking"]
    memory_mib: int
    more_mib: int
    watts: int
    host_zone: int | None = None
    host_mib: int = 0
    order: tuple[int, float, str] = (0, 0.0, "")

    @property
    def assumed(self) -> Assumed:
        """As others see it."""
        return Assumed(
            self.uid, self.node, self.gpus, self.more_mib, self.watts, self.host_zone, self.host_mib
        )

    def done(self, ledger: Ledger) -> bool:
        holder = ledger.holder(self.uid)
        return holder is not None and holder.state != "Asleep"

    def change(self, ledger: Ledger, epoch: int, at: str) -> list[Op]:
        """Its claim or move; nothing while another engine on its GPUs is in transition, or where it is done."""
        moving = {pod.uid for pod in ledger.pods if pod.state in TRANSITIONS}
        held = {c.pod_uid for gpu in ledger.gpus if gpu.uuid in self.gpus for c in gpu.claims}
        if held & moving or self.done(ledger):
            return []
        if self.state == "Waking":
            if ledger.holder(self.uid) is None:
                return []
            charges = {"memory_mib": self.memory_mib, "watts": self.watts}
            return move(ledger, self.uid, "Waking", **charges, epoch=epoch, at=at)
        return claim(
            ledger,
            PodRef(self.uid, self.pool),
            self.gpus,
            memory_mib=self.memory_mib,
            watts=self.watts,
            host_zone=self.host_zone,
            host_mib=self.host_mib,
            epoch=epoch,
            at=at,
        )


def with_reserved(
    ledger: Ledger, ops: list[Op], kept: Sequence[Reservation], epoch: int, at: str
) -> list[Op]:
    """`ops`, and in the same write each of `kept` that then fits: so nobody else takes the room between."""
    if not kept or fits(ledger, ops) is not None:
        return ops
    after = applied(ledger, ops)
    taken = False
    for one in sorted(kept, key=lambda r: r.order):
        try:
            more = one.change(after, epoch, at)
        except LedgerError:
            continue  # its GPU is gone: it is worked out anew
        if more and fits(after, more) is None:
            after, taken = applied(after, more), True
    return difference(ledger, after) if taken else ops
