"""Where several pods would go one after the other: the same `rank`, each choice assumed for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ingle_core.facts import Columns, GpuNodeFacts
from ingle_core.placement.ask import Ask, AskMemory
from ingle_core.placement.rank import Ranking
from ingle_core.placement.view import Assumed, View

_ANY: Final = Ask(memory_mib=AskMemory(awake=1))


@dataclass(frozen=True, slots=True)
class Turn:
    """One pod's decision. `earlier`: what was assumed for others when it was made. `choice` None: it fits nowhere."""

    ranking: Ranking
    earlier: tuple[Assumed, ...]
    choice: Assumed | None


def assumed_of(ask: Ask, ranking: Ranking, pod_uid: str) -> Assumed | None:
    """The choice as an assumption for those that follow; None when there is none."""
    if ranking.node is None:
        return None
    host_mib = ask.memory_mib.host if ranking.host_zone is not None else 0
    return Assumed(
        pod_uid, ranking.node, ranking.gpus, ask.charge_mib, ask.charge_w, ranking.host_zone, host_mib
    )


def in_turn(
    ask: Ask,
    count: int,
    rank_one: Callable[[Sequence[Assumed]], Ranking],
    assumed: Sequence[Assumed] = (),
) -> list[Turn]:
    """Places `count` equal pods, `assumed` being for other pods already; `rank_one` ranks with all these taken off.

    Ends with the first that fits nowhere: it leaves everything as it was, so the next would not fit either.
    """
    turns: list[Turn] = []
    earlier = list(assumed)
    for number in range(count):
        ranking = rank_one(tuple(earlier))
        choice = assumed_of(ask, ranking, f"turn-{number}")
        turns.append(Turn(ranking, tuple(earlier), choice))
        if choice is None:
            break
        earlier.append(choice)
    return turns


def growth_w(facts: GpuNodeFacts, choice: Assumed, earlier: Sequence[Assumed] = ()) -> int:
    """Watts that the choice charges its node with more, beside what is assumed already."""
    return _spare_w(facts, choice.node, earlier) - _spare_w(facts, choice.node, (*earlier, choice))


def spare_w(facts: GpuNodeFacts, node: str, assumed: Sequence[Assumed] = ()) -> int | None:
    """Watts allotted to the node and not charged once these choices are; None where watts are not limited."""
    return None if facts.allotted_w is None else _spare_w(facts, node, assumed)


def _spare_w(facts: GpuNodeFacts, node: str, assumed: Sequence[Assumed]) -> int:
    columns = Columns(nodes=1, gpus=max(1, len(facts.gpus)), zones=max(1, len(facts.zones)))
    columns.update(node, facts)
    here = [one for one in assumed if one.node == node]
    view = View(_ANY, columns, here, now_s=facts.heard_at_s, silent_after_s=0.0)
    return int(view.node["spare_w"][0])


def facts_beside(facts: GpuNodeFacts, node: str, assumed: Sequence[Assumed]) -> GpuNodeFacts:
    """The node as the next pod sees it: these choices hold their memory and watts, and are starting."""
    here = [one for one in assumed if one.node == node]
    if not here:
        return facts
    gpus = []
    for gpu in facts.gpus:
        mine = [one for one in here if gpu.uuid in one.gpus]
        gpus.append(
            replace(
                gpu,
                headroom_mib=gpu.headroom_mib - sum(one.memory_mib for one in mine),
                claimed_w=gpu.claimed_w + sum(one.watts for one in mine),
                busy=gpu.busy or bool(mine),
            )
        )
    zones = tuple(
        replace(
            zone,
            headroom_mib=zone.headroom_mib - sum(a.host_mib for a in here if a.host_zone == zone.zone),
        )
        for zone in facts.zones
    )
    return replace(facts, gpus=tuple(gpus), zones=zones)
