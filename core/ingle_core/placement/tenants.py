"""Who holds room on the nodes, and what each could give back: sleep first, then stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from ingle_core.facts import GpuFacts, GpuNodeFacts, Resident
from ingle_core.ledger import TRANSITIONS, Ledger, State, fits, move
from ingle_core.placement.view import Assumed
from ingle_core.warmpool.tiers import DROP, SLEEP_L1, START_COLD, WAKE_L1, WAKE_L2

To = Literal["Asleep", "Dropped", "Ended"]  # Dropped: asleep without weights in host memory
Changes = Mapping[str, To]  # pod UID to what it becomes

PRIORITY_RANK: Final[Mapping[str, int]] = {"Low": 0, "Normal": 1, "High": 2}
_TIERS: Final[Mapping[To, int]] = {"Asleep": 0, "Dropped": 1, "Ended": 2}
_BUSY: Final = 3  # tiers above: nothing of a later one while an earlier one is enough
_ENDS_AS: Final[Mapping[str, To]] = {"Sleeping": "Asleep", "Stopping": "Ended"}


@dataclass(frozen=True, slots=True)
class Tenant:
    """An engine that holds something on a node.

    `memory_mib` and `watts`: charged on each of its GPUs now; `asleep_mib`: charged on each while it sleeps.
    `busy`: it has requests, or its pool has some that wait. `chance`: how likely it is wanted again soon (`chance.py`).
    `sleep_s`, `wake_s`, `load_s`: how long it takes to sleep, to wake and to start anew. `can_drop`: a sleeper that can be
    made to drop its weights now: it has room to wake for that. `dropping`: it is on its way there.
    """

    uid: str
    pool: str
    node: str
    gpus: tuple[str, ...]
    state: State
    memory_mib: int
    asleep_mib: int = 0
    watts: int = 0
    host_mib: int = 0
    host_zone: int | None = None
    priority: str = "Normal"
    busy: bool = False
    can_sleep: bool = True
    can_drop: bool = False
    dropping: bool = False
    chance: float = 1.0
    sleep_s: float = SLEEP_L1.cost_s
    wake_s: float = WAKE_L1.cost_s
    load_s: float = START_COLD.cost_s

    def left(self, to: To) -> tuple[int, int, int]:
        """MiB and W on each GPU, and host MiB, that it holds once it is `to`."""
        if to == "Ended":
            return (0, 0, 0)
        return (min(self.memory_mib, self.asleep_mib), 0, self.host_mib if to == "Asleep" else 0)

    def cost_s(self, to: To) -> float:
        """Seconds lost: sleep + chance × wake, or chance × load; to drop the weights, chance × how much longer a wake takes."""
        if to == "Dropped":
            return DROP.cost_s + self.chance * max(0.0, WAKE_L2.cost_s - self.wake_s)
        return self.sleep_s + self.chance * self.wake_s if to == "Asleep" else self.chance * self.load_s

    def tier(self, to: To) -> int:
        """The order in which things are given up."""
        return _TIERS[to] + (_BUSY if self.busy else 0)


@dataclass(frozen=True, slots=True)
class Spare:
    """What a pool has above its floors: `awake` engines above replicas.min and its load, `kept` above that and
    warm.asleep together."""

    awake: int = 0
    kept: int = 0


class Step(NamedTuple):
    """One tenant's next change."""

    tenant: Tenant
    to: To


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may be asked to give way to an engine of `pool` with `priority`. Pools without an entry spare nothing."""

    pool: str
    priority: str
    spare: Mapping[str, Spare]

    def may_ever(self, tenant: Tenant) -> bool:
        """Never above the own priority, nor busy ones of the same; never the own pool; none in transition."""
        mine, its = PRIORITY_RANK.get(self.priority, 1), PRIORITY_RANK.get(tenant.priority, 1)
        if tenant.pool == self.pool or tenant.state not in ("Awake", "Asleep") or its > mine:
            return False
        return its < mine or not tenant.busy

    def may(self, step: Step, chosen: Changes, tenants: Sequence[Tenant]) -> bool:
        """Whether `step` keeps the floors of a pool of the same priority, beside what is chosen already."""
        tenant = step.tenant
        if PRIORITY_RANK.get(tenant.priority, 1) < PRIORITY_RANK.get(self.priority, 1):
            return True
        after = {**chosen, tenant.uid: step.to}
        mine = [t for t in tenants if t.pool == tenant.pool and t.uid in after and self.may_ever(t)]
        awake = sum(t.state == "Awake" for t in mine)
        ended = sum(after[t.uid] == "Ended" for t in mine)
        spare = self.spare.get(tenant.pool, Spare())
        return awake <= spare.awake and ended <= spare.kept

    def steps(self, tenants: Sequence[Tenant], chosen: Changes) -> list[Step]:
        """Each tenant's next changes that are allowed."""
        found = []
        for tenant in tenants:
            now = chosen.get(tenant.uid, tenant.state)
            if now == "Ended" or not self.may_ever(tenant):
                continue
            asleep: list[To] = ["Asleep"] if now == "Awake" and tenant.can_sleep else []
            dropped: list[To] = ["Dropped"] if now == "Asleep" and tenant.can_drop else []
            wanted: list[To] = [*asleep, *dropped, "Ended"]
            found += [s for s in (Step(tenant, to) for to in wanted) if self.may(s, chosen, tenants)]
        return found


def under_way(tenants: Sequence[Tenant]) -> dict[str, To]:
    """What ends by itself: engines that go to sleep, drop their weights or stop already."""
    ends = {t.uid: _ENDS_AS[t.state] for t in tenants if t.state in _ENDS_AS}
    return ends | {t.uid: "Dropped" for t in tenants if t.dropping and ends.get(t.uid) != "Ended"}


def can_drop(ledger: Ledger, uid: str, awake_mib: int, busy_w: int) -> bool:
    """Whether it is a sleeper with a claim on host memory that its node's ledger would let wake now."""
    holder = ledger.holder(uid)
    if holder is None or holder.state != "Asleep":
        return False
    if not any(claim.pod_uid == uid for zone in ledger.zones for claim in zone.claims):
        return False
    moving = {pod.uid for pod in ledger.pods if pod.state in TRANSITIONS}
    mine = [gpu for gpu in ledger.gpus if gpu.uuid in ledger.gpus_of(uid)]
    busy = any(claim.pod_uid in moving for gpu in mine for claim in gpu.claims)
    return not busy and fits(ledger, move(ledger, uid, "Waking", memory_mib=awake_mib, watts=busy_w)) is None


def freed_mib(tenant: Tenant, to: To, gpu: str) -> int:
    """MiB that `gpu` gets back."""
    return tenant.memory_mib - tenant.left(to)[0] if gpu in tenant.gpus else 0


def facts_after(
    facts: GpuNodeFacts, tenants: Sequence[Tenant], changes: Changes, assumed: Sequence[Assumed] = ()
) -> GpuNodeFacts:
    """The node once `changes` and every transition have ended, less what is assumed for others."""
    going = [(t, changes[t.uid]) for t in tenants if t.uid in changes]
    gpus = tuple(_gpu_after(gpu, _sharing(gpu, facts), going, assumed) for gpu in facts.gpus)
    zones = tuple(
        replace(
            zone,
            headroom_mib=zone.headroom_mib
            + sum(t.host_mib - t.left(to)[2] for t, to in going if t.host_zone == zone.zone)
            - sum(a.host_mib for a in assumed if a.host_zone == zone.zone),
        )
        for zone in facts.zones
    )
    return replace(facts, gpus=gpus, zones=zones)


def _sharing(gpu: GpuFacts, facts: GpuNodeFacts) -> frozenset[str]:
    """The GPUs that share its watts: itself, or all MIG instances of one parent."""
    if not gpu.parent:
        return frozenset({gpu.uuid})
    return frozenset(other.uuid for other in facts.gpus if other.parent == gpu.parent)


def _gpu_after(
    gpu: GpuFacts, sharing: frozenset[str], going: Sequence[tuple[Tenant, To]], assumed: Sequence[Assumed]
) -> GpuFacts:
    here = [(t, to) for t, to in going if gpu.uuid in t.gpus]
    others = [a for a in assumed if gpu.uuid in a.gpus]
    lit = [(t, to, len(sharing & set(t.gpus))) for t, to in going]
    return replace(
        gpu,
        busy=False,
        headroom_mib=gpu.headroom_mib
        + sum(freed_mib(t, to, gpu.uuid) for t, to in here)
        - sum(a.memory_mib for a in others),
        claimed_w=gpu.claimed_w
        - sum(count * (t.watts - t.left(to)[1]) for t, to, count in lit)
        + sum(len(sharing & set(a.gpus)) * a.watts for a in assumed),
        residents=_staying(gpu.residents, [t for t, to in here if to == "Ended"]),
    )


def _staying(residents: tuple[Resident, ...], ended: Sequence[Tenant]) -> tuple[Resident, ...]:
    """Without one for each that has ended."""
    left = list(residents)
    for tenant in ended:
        mine = (one for one in left if (one.pool, one.memory_mib) == (tenant.pool, tenant.memory_mib))
        gone = next(mine, None)
        if gone is not None:
            left.remove(gone)
    return tuple(left)
