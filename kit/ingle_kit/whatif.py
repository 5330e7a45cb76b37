"""What-if: the question, and the answer that the scheduler's extender and `ingle whatif` both give. Pure.

The extender answers from its own caches, the command from objects that it reads, both by the same functions, so that
an answer means the same wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ingle_core.facts import GpuNodeFacts
from ingle_core.placement import NAMES, TEXTS, Ask, Assumed, Ranking
from ingle_core.placement.pools import PoolFacts
from ingle_core.placement.whatif import Turn, facts_beside, growth_w, in_turn, spare_w

REPLICAS_MAX: Final = 256
GUARDED_ELSEWHERE: Final = frozenset(
    f"node.kubernetes.io/{word}" for word in ("unschedulable", "not-ready", "unreachable")
)  # taints of nodes that `rank` refuses with a reason of its own


class Taint(msgspec.Struct, frozen=True):
    """Of a Node."""

    key: str
    effect: str
    value: str = ""


class Tolerates(msgspec.Struct, frozen=True):
    """Of a pod; empty key, value or effect: any."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        if self.effect not in ("", taint.effect):
            return False
        if self.operator == "Exists":
            return self.key in ("", taint.key)
        return (self.key, self.value) == (taint.key, taint.value)


class Question(msgspec.Struct, frozen=True, rename="camel"):
    """Where would `replicas` equal pods go, one after the other? `id` comes back in the answer.

    `pool`: the pool as it would be, since what it may ask for is part of what is typically asked; None: as it is.
    """

    ask: Ask
    replicas: int = 1
    node_selector: dict[str, str] = {}
    tolerations: tuple[Tolerates, ...] = ()
    id: str = ""
    pool: PoolFacts | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= REPLICAS_MAX:
            raise ValueError(f"replicas must be between 1 and {REPLICAS_MAX}, not {self.replicas}")

    def offers(self, labels: Mapping[str, str], taints: Sequence[Taint]) -> bool:
        """Whether kube-scheduler would offer a node with these; its own other filters are not looked at."""
        if not self.node_selector.items() <= labels.items():
            return False
        hard = [t for t in taints if t.effect in ("NoSchedule", "NoExecute")]
        mine = [t for t in hard if t.key not in GUARDED_ELSEWHERE]
        return all(any(one.covers(taint) for one in self.tolerations) for taint in mine)


_WIRE: Final = {
    "growth_w": "wattsGrowth",
    "spare_w": "wattsSpare",
    "host_zone": "hostZone",
    "left_out": "leftOut",
}


def _wire_name(field: str) -> str:
    return _WIRE.get(field, field)


class Placed(msgspec.Struct, frozen=True, rename=_wire_name):
    """One replica. `zones`: NUMA zones of its GPUs; `host_zone`: where its sleeper's host memory goes.

    `growth_w`: watts its node is charged more; `spare_w`: watts left there after it, None: not limited. `score`: the
    weighted sum by which the node was chosen.
    """

    node: str
    gpus: tuple[str, ...]
    zones: tuple[int, ...]
    host_zone: int | None
    growth_w: int
    spare_w: int | None
    score: float


class NodeClass(msgspec.Struct, frozen=True):
    """Nodes with one reason, and the figures of one of them, as the replica sees it."""

    reason: str
    text: str
    nodes: int
    example: dict[str, Any]


class Answer(msgspec.Struct, frozen=True, rename=_wire_name):
    """`refused`: why no node takes the next replica, the commonest reason first; empty where all fit.

    `left_out`: nodes that were not offered, by label or taint.
    """

    id: str
    replicas: tuple[Placed, ...]
    asked: int
    refused: tuple[NodeClass, ...] = ()
    left_out: int = 0


def answer(
    question: Question,
    facts: Mapping[str, GpuNodeFacts],
    names: Sequence[str],
    rank_beside: Callable[[Sequence[Assumed]], Ranking],
    assumed: Sequence[Assumed] = (),
) -> tuple[Answer, list[Turn]]:
    """The answer, and its turns. `names`: nodes offered; `rank_beside` ranks these with what it is given taken off."""
    turns = in_turn(question.ask, question.replicas, rank_beside, assumed)
    placed = tuple(_placed(turn, facts) for turn in turns if turn.choice is not None)
    refused = () if turns[-1].choice is not None else _classes(turns[-1], facts, names)
    left_out = len(facts) - len(names)
    return Answer(question.id, placed, question.replicas, refused, left_out), turns


def figures(facts: GpuNodeFacts) -> dict[str, Any]:
    """What decides about a node, as JSON values: MiB and watts left."""
    gpus = [
        {
            "uuid": gpu.uuid,
            "product": gpu.product,
            "headroomMiB": gpu.headroom_mib,
            "healthy": gpu.healthy,
            "busy": gpu.busy,
            "numa": gpu.numa,
        }
        for gpu in facts.gpus
    ]
    zones = [{"zone": zone.zone, "headroomMiB": zone.headroom_mib} for zone in facts.zones]
    return {"spareWatts": spare_w(facts, ""), "gpus": gpus, "zones": zones}


def _placed(turn: Turn, facts: Mapping[str, GpuNodeFacts]) -> Placed:
    choice, ranking = turn.choice, turn.ranking
    assert choice is not None
    node = facts[choice.node]
    zones = sorted({gpu.numa for gpu in node.gpus if gpu.uuid in choice.gpus and gpu.numa >= 0})
    return Placed(
        node=choice.node,
        gpus=choice.gpus,
        zones=tuple(zones),
        host_zone=choice.host_zone,
        growth_w=growth_w(node, choice, turn.earlier),
        spare_w=spare_w(node, choice.node, (*turn.earlier, choice)),
        score=round(ranking.score, 5),
    )


def _classes(turn: Turn, facts: Mapping[str, GpuNodeFacts], names: Sequence[str]) -> tuple[NodeClass, ...]:
    ordered = sorted(turn.ranking.counts.items(), key=lambda item: (-item[1], item[0]))
    first: dict[int, str] = {}
    for name in sorted(names):
        first.setdefault(turn.ranking.reason(name), name)
    return tuple(
        NodeClass(
            NAMES[reason],
            TEXTS[reason],
            count,
            {
                "node": first[reason],
                **figures(facts_beside(facts[first[reason]], first[reason], turn.earlier)),
            },
        )
        for reason, count in ordered
    )
