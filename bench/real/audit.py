"""Who has which GPU, asked twice: by the ledgers and by the annotations of bound pods. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bench.real.podwatch import PodSeen
from ingle_core.ledger import Ledger
from ingle_core.ledger.rules import charged_watts


@dataclass(frozen=True)
class Audit:
    """`unclaimed`: bound pods that a ledger does not show on exactly the GPUs of their annotation.

    `leaked`: claims of pods that are not bound there. `oversold`: GPUs and nodes whose claims exceed their room.
    """

    bound: int
    unclaimed: int
    leaked: int
    oversold: int

    @property
    def double_bookings(self) -> int:
        return self.unclaimed + self.oversold


def audit(pods: Iterable[PodSeen], ledgers: dict[str, Ledger]) -> Audit:
    """Compares; pods without annotated GPUs are not ours and are left out."""
    bound = {pod.uid: pod for pod in pods if pod.node and pod.gpus}
    unclaimed = sum(not _claimed(pod, ledgers) for pod in bound.values())
    leaked = sum(
        held.uid not in bound or bound[held.uid].node != node
        for node, ledger in ledgers.items()
        for held in ledger.pods
    )
    return Audit(len(bound), unclaimed, leaked, sum(map(oversold, ledgers.values())))


def oversold(ledger: Ledger) -> int:
    """GPUs and zones whose claims exceed what is allocatable, plus 1 where watts exceed the allotment."""
    over = sum(gpu.claimed_mib > gpu.allocatable_mib for gpu in ledger.gpus)
    over += sum(zone.claimed_mib > zone.allocatable_mib for zone in ledger.zones)
    limit_w = ledger.watts_allotted
    return over + (limit_w is not None and charged_watts(ledger) > limit_w)


def shared_gpus(pods: Iterable[PodSeen]) -> int:
    """GPUs that the annotations of more than one bound pod name, for pods too large to share one."""
    held = Counter(gpu for pod in pods if pod.node for gpu in pod.gpus)
    return sum(count > 1 for count in held.values())


def _claimed(pod: PodSeen, ledgers: dict[str, Ledger]) -> bool:
    ledger = ledgers.get(pod.node)
    return ledger is not None and set(ledger.gpus_of(pod.uid)) == set(pod.gpus)
