"""The least that has to give way on one node so that one more engine fits there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ingle_core.facts import GpuFacts, GpuNodeFacts
from ingle_core.placement.tenants import (
    Changes,
    Rules,
    Step,
    Tenant,
    To,
    facts_after,
    freed_mib,
    under_way,
)
from ingle_core.placement.view import Assumed


class Place(NamedTuple):
    """GPUs that the engine would get, and the zone of its host memory."""

    gpus: tuple[str, ...]
    host_zone: int | None = None


@dataclass(frozen=True)
class Site:
    """One node to make room on. `fit` says where the engine would go, None: nowhere. `usable`: GPUs it may have."""

    facts: GpuNodeFacts
    tenants: Sequence[Tenant]
    rules: Rules
    assumed: Sequence[Assumed]
    need_mib: int
    count: int
    usable: Callable[[GpuFacts], bool]
    fit: Callable[[GpuNodeFacts], Place | None]

    def place(self, chosen: Changes) -> Place | None:
        return self.fit(facts_after(self.facts, self.tenants, chosen, self.assumed))

    def gpus(self) -> list[GpuFacts]:
        settled = facts_after(self.facts, self.tenants, under_way(self.tenants), self.assumed)
        return [gpu for gpu in settled.gpus if self.usable(gpu)]

    def cheapest(self) -> tuple[int, float]:
        """No more than the tier and cost of the answer; nothing where something is under way."""
        if under_way(self.tenants):
            return (-1, 0.0)
        going = [t for t in self.tenants if self.rules.may_ever(t)]
        first: list[tuple[Tenant, To]] = [(t, "Asleep") for t in going if t.state == "Awake" and t.can_sleep]
        first += [(t, "Dropped") for t in going if t.can_drop]
        first += [(t, "Ended") for t in going]
        return min(((t.tier(to), t.cost_s(to)) for t, to in first), default=(99, 0.0))


def chosen_on(site: Site) -> dict[str, To] | None:
    """What has to change so that it fits, the least of it; empty: nothing but what is under way. None: impossible."""
    chosen = under_way(site.tenants)
    if site.place(chosen) is not None:
        return chosen
    enough = 0
    for gpu in sorted(site.gpus(), key=lambda g: _gpu_cost(site, g, chosen)):
        cleared = _cleared(site, gpu, chosen)
        if cleared is None:
            continue
        chosen, enough = cleared, enough + 1
        if enough >= site.count and site.place(chosen) is not None:
            return _pruned(site, chosen)
    # the memory is there: watts or host memory is short
    while (step := _next_for_watts(site, chosen)) is not None:
        chosen = {**chosen, step.tenant.uid: step.to}
        if site.place(chosen) is not None:
            return _pruned(site, chosen)
    return None


def _gpu_cost(site: Site, gpu: GpuFacts, chosen: Changes) -> tuple[int, float, str]:
    cleared = _cleared(site, gpu, chosen)
    if cleared is None:
        return (99, 0.0, gpu.uuid)
    new = [(t, cleared[t.uid]) for t in site.tenants if t.uid in cleared and t.uid not in chosen]
    return (max((t.tier(to) for t, to in new), default=-1), sum(t.cost_s(to) for t, to in new), gpu.uuid)


def _cleared(site: Site, gpu: GpuFacts, chosen: Changes) -> dict[str, To] | None:
    """`chosen` and what gives one GPU the memory: the least tier first, then cost per MiB. None: impossible."""
    here = [t for t in site.tenants if gpu.uuid in t.gpus]
    after = dict(chosen)
    going = under_way(site.tenants)  # is in gpu.headroom_mib already

    def short_mib() -> int:
        got = sum(freed_mib(t, after[t.uid], gpu.uuid) for t in here if t.uid in after and t.uid not in going)
        return site.need_mib - gpu.headroom_mib - got

    while short_mib() > 0:
        steps = [s for s in site.rules.steps(site.tenants, after) if gpu.uuid in s.tenant.gpus]
        steps = [s for s in steps if s.to != "Dropped"]  # that gives host memory only
        if not steps:
            return None
        step = min(steps, key=lambda s: _order(s, freed_mib(s.tenant, s.to, gpu.uuid)))
        after[step.tenant.uid] = step.to
    return after


def _next_for_watts(site: Site, chosen: Changes) -> Step | None:
    steps = site.rules.steps(site.tenants, chosen)
    return min(steps, key=lambda s: _order(s, _watts_or_host_mib(s)), default=None)


def _watts_or_host_mib(step: Step) -> int:
    """What the step gives of that, one and the same for all steps of a tier."""
    return step.tenant.host_mib if step.to == "Dropped" else step.tenant.watts * len(step.tenant.gpus)


def _order(step: Step, gain: int) -> tuple[int, float, str, str]:
    cost_s = step.tenant.cost_s(step.to)
    return (step.tenant.tier(step.to), cost_s / gain if gain > 0 else float("inf"), step.tenant.uid, step.to)


def _pruned(site: Site, chosen: dict[str, To]) -> dict[str, To]:
    """Without any victim that is not needed, the dearest tried first; none stops where less is enough."""
    going = under_way(site.tenants)
    by_uid = {t.uid: t for t in site.tenants}
    shrunk = True
    while shrunk:
        shrunk = False
        victims = [uid for uid in chosen if uid not in going]
        dearest = sorted(victims, key=lambda u: (-by_uid[u].tier(chosen[u]), -by_uid[u].cost_s(chosen[u]), u))
        for uid in dearest:
            less = {other: to for other, to in chosen.items() if other != uid}
            tries: list[dict[str, To]] = [less]
            if chosen[uid] == "Ended":
                tries += [{**less, uid: to} for to in _milder(by_uid[uid])]
            better = next((one for one in tries if site.place(one) is not None), None)
            if better is not None:
                chosen, shrunk = better, True
    return chosen


def _milder(tenant: Tenant) -> list[To]:
    """What it could do instead of stopping."""
    if tenant.state == "Awake":
        return ["Asleep"] if tenant.can_sleep else []
    return ["Dropped"] if tenant.can_drop else []
