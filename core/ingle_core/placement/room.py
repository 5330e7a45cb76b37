"""Making room: which engines go to sleep, and which stop, so that one more fits on a node.

Victims are idle ones first, asleep before stopped (between the two: sleepers whose weights in host memory are in the way,
and who need not stop for that), then busy ones of a lower priority; within that the least cost:
seconds to sleep, and to wake or load again times the chance that it is wanted (`chance.py`). Nothing is done here: the answer is
worked out anew each time, and what is under way already counts as done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.placement.ask import Ask
from ingle_core.placement.clearing import Place, Site, chosen_on
from ingle_core.placement.context import NOTHING_ELSE, Context
from ingle_core.placement.rank import SILENT_AFTER_S, rank
from ingle_core.placement.tenants import (
    Changes,
    Rules,
    Spare,
    Tenant,
    To,
    facts_after,
    under_way,
)
from ingle_core.placement.view import Assumed

NODES_MAX: Final = 32  # looked at closely, those with the cheapest first step


class Outcome(StrEnum):
    """FITS: there is room now. SOON: once what is under way has ended. VICTIMS: once these have given way."""

    FITS = "Fits"
    SOON = "Soon"
    VICTIMS = "Victims"
    NOTHING = "Nothing"


class Why(StrEnum):
    """Why a node was not chosen."""

    TAKES_NOTHING = "TakesNothing"  # not ready, cordoned, or its agent is silent
    NOTHING_MAY_GO = "NothingMayGo"  # only higher priorities, busy ones or what pools keep
    TOO_LITTLE = "TooLittle"  # even if all went that may
    COSTS_MORE = "CostsMore"
    NOT_LOOKED_AT = "NotLookedAt"


@dataclass(frozen=True, slots=True)
class Victim:
    """One engine that gives way; `reason` is for people."""

    uid: str
    pool: str
    to: To
    cost_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Room:
    """Where it will fit, and what that takes. `nodes`: why each other node with engines was not chosen."""

    outcome: Outcome
    node: str | None = None
    gpus: tuple[str, ...] = ()
    host_zone: int | None = None
    victims: tuple[Victim, ...] = ()
    nodes: Mapping[str, Why] = field(default_factory=dict)

    @property
    def cost_s(self) -> float:
        return sum(victim.cost_s for victim in self.victims)


@dataclass(frozen=True, slots=True)
class Wake:
    """A sleeper that was refused its wake. `extra_mib` and `watts`: what it needs more on each of its GPUs."""

    pool: str
    node: str
    gpus: tuple[str, ...]
    extra_mib: int
    watts: int
    priority: str = "Normal"


def make_room(
    ask: Ask,
    columns: Columns,
    tenants: Sequence[Tenant],
    spare: Mapping[str, Spare],
    *,
    now_s: float,
    node_names: Collection[str] | None = None,
    assumed: Sequence[Assumed] = (),
    silent_after_s: float = SILENT_AFTER_S,
    context: Context = NOTHING_ELSE,
) -> Room:
    """Room for a new pod on one of `node_names` (None: any); `spare`: what each pool has above its floors.

    `assumed`: room that is kept for others. At most `NODES_MAX` nodes are looked at closely. Deterministic.
    """
    names = list(columns.facts if node_names is None else node_names)
    ranking = rank(ask, columns, names, assumed, now_s=now_s, silent_after_s=silent_after_s, context=context)
    if ranking.node is not None:
        return Room(Outcome.FITS, ranking.node, ranking.gpus, ranking.host_zone)
    rules = Rules(ask.pool, ask.priority, spare)
    by_node: defaultdict[str, list[Tenant]] = defaultdict(list)
    for tenant in tenants:
        by_node[tenant.node].append(tenant)
    sites: dict[str, Site] = {}
    nodes: dict[str, Why] = {}
    for name in sorted(set(names) & columns.facts.keys() & by_node.keys()):
        facts, kept = columns.facts[name], [a for a in assumed if a.node == name]
        if not _takes(facts, now_s, silent_after_s):
            nodes[name] = Why.TAKES_NOTHING
            continue
        fit = _pod_fit(ask, name, now_s, silent_after_s, context)
        site = Site(facts, by_node[name], rules, kept, ask.charge_mib, ask.gpus, _usable_by(ask), fit)
        hopeless = _hopeless(site)
        if hopeless is not None:
            nodes[name] = hopeless
        else:
            sites[name] = site
    return _cheapest(sites, nodes)


def make_room_for_wake(
    wake: Wake,
    facts: GpuNodeFacts,
    tenants: Sequence[Tenant],
    spare: Mapping[str, Spare],
    assumed: Sequence[Assumed] = (),
) -> Room:
    """Room for a sleeper where it is; `facts` of its node, `headroom_mib` being allocatable − Σ claims."""

    def fit(after: GpuNodeFacts) -> Place | None:
        mine = [gpu for gpu in after.gpus if gpu.uuid in wake.gpus]
        charged_w = sum(max(g.floor_w, g.claimed_w) for g in after.gpus)
        growth_w = sum(max(g.floor_w, g.claimed_w + wake.watts) - max(g.floor_w, g.claimed_w) for g in mine)
        lit = after.allotted_w is None or growth_w == 0 or charged_w + growth_w <= after.allotted_w
        roomy = len(mine) == len(wake.gpus) and all(g.headroom_mib >= wake.extra_mib for g in mine)
        return Place(wake.gpus) if lit and roomy else None

    if not any(gpu.busy for gpu in facts.gpus if gpu.uuid in wake.gpus) and fit(
        facts_after(facts, (), {}, assumed)
    ):
        return Room(Outcome.FITS, wake.node, wake.gpus)
    site = Site(
        facts,
        [t for t in tenants if t.node == wake.node],
        Rules(wake.pool, wake.priority, spare),
        assumed,
        wake.extra_mib,
        len(wake.gpus),
        lambda gpu: gpu.uuid in wake.gpus,
        fit,
    )
    return _cheapest({wake.node: site}, {})


def _takes(facts: GpuNodeFacts, now_s: float, silent_after_s: float) -> bool:
    heard = facts.reporting and now_s - facts.heard_at_s <= silent_after_s
    return facts.ready and not facts.cordoned and heard


def _usable_by(ask: Ask) -> Callable[[GpuFacts], bool]:
    return lambda gpu: (
        gpu.healthy and gpu.allocatable_mib > 0 and (not ask.products or gpu.product in ask.products)
    )


def _pod_fit(
    ask: Ask, name: str, now_s: float, silent_after_s: float, context: Context
) -> Callable[[GpuNodeFacts], Place | None]:
    """The filters and the choice of `rank` on that node alone: what fits here fits later."""
    alone = context.apart()

    def fit(facts: GpuNodeFacts) -> Place | None:
        columns = Columns(nodes=1, gpus=max(1, len(facts.gpus)), zones=max(1, len(facts.zones)))
        columns.update(name, facts)
        found = rank(ask, columns, [name], now_s=now_s, silent_after_s=silent_after_s, context=alone)
        return None if found.node is None else Place(found.gpus, found.host_zone)

    return fit


def _hopeless(site: Site) -> Why | None:
    """A quick look: whether enough GPUs would have the memory if everybody went who may."""
    ends = under_way(site.tenants)
    going = [t for t in site.tenants if t.uid in ends or site.rules.may_ever(t)]
    if not going:
        return Why.NOTHING_MAY_GO
    freed: defaultdict[str, int] = defaultdict(int)
    for tenant in going:
        for gpu in tenant.gpus:
            freed[gpu] += tenant.memory_mib
    large = (g for g in site.facts.gpus if g.headroom_mib + freed[g.uuid] >= site.need_mib)
    return None if sum(site.usable(gpu) for gpu in large) >= site.count else Why.TOO_LITTLE


def _cheapest(sites: Mapping[str, Site], nodes: dict[str, Why]) -> Room:
    order = sorted((site.cheapest(), name) for name, site in sites.items())
    best: tuple[tuple[int, float, int, str], Room] | None = None
    for looked_at, (bound, name) in enumerate(order):
        if looked_at >= NODES_MAX:
            nodes[name] = Why.NOT_LOOKED_AT
            continue
        if best is not None and bound >= best[0][:2]:
            nodes[name] = Why.COSTS_MORE
            continue
        site = sites[name]
        chosen = chosen_on(site)
        if chosen is None:
            may_go = site.rules.steps(site.tenants, under_way(site.tenants))
            nodes[name] = Why.TOO_LITTLE if may_go else Why.NOTHING_MAY_GO
            continue
        room, tier = _room(site, name, chosen)
        key = (tier, room.cost_s, len(room.victims), name)
        if best is None or key < best[0]:
            if best is not None and best[1].node is not None:
                nodes[best[1].node] = Why.COSTS_MORE
            best = (key, room)
        else:
            nodes[name] = Why.COSTS_MORE
    if best is None:
        return Room(Outcome.NOTHING, nodes=nodes)
    room = best[1]
    return Room(room.outcome, room.node, room.gpus, room.host_zone, room.victims, nodes)


def _room(site: Site, name: str, chosen: Changes) -> tuple[Room, int]:
    """The answer for one node, and its highest tier."""
    place = site.place(chosen)
    assert place is not None
    going = under_way(site.tenants)
    picked = [(t, chosen[t.uid]) for t in site.tenants if t.uid in chosen and t.uid not in going]
    picked.sort(key=lambda one: (one[0].tier(one[1]), one[0].cost_s(one[1]), one[0].uid))
    victims = tuple(Victim(t.uid, t.pool, to, t.cost_s(to), _reason(t, to)) for t, to in picked)
    tier = max((t.tier(to) for t, to in picked), default=-1)
    outcome = Outcome.VICTIMS if victims else Outcome.SOON
    return Room(outcome, name, place.gpus, place.host_zone, victims), tier


def _reason(tenant: Tenant, to: To) -> str:
    memory_mib, watts, _ = tenant.left(to)
    if to == "Dropped":
        return f"asleep: frees {tenant.host_mib} MiB of host memory for {tenant.cost_s(to):.1f} s"
    what = "busy, of lower priority" if tenant.busy else "asleep" if tenant.state == "Asleep" else "idle"
    return (
        f"{what}: frees {tenant.memory_mib - memory_mib} MiB and {tenant.watts - watts} W"
        f" on {len(tenant.gpus)} GPUs for {tenant.cost_s(to):.1f} s"
    )
