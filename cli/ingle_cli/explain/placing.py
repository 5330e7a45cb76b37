"""Why a pod is on its node and not on another, from API objects alone. Pure: the time is an argument.

The scheduler's extender answers the same question with the same `rank`; it knows besides what it promised to other
pods in the last seconds. `of_extender` reads its answer into the same records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ingle_cli.objects import Object
from ingle_cli.text import ago
from ingle_core.facts import Columns, GpuNode, GpuNodeFacts, node_facts
from ingle_core.ledger import TRANSITIONS
from ingle_core.placement import (
    NAMES,
    NOTHING_ELSE,
    SILENT_AFTER_S,
    TEXTS,
    Ask,
    Context,
    Ranking,
    Reason,
    ask_from_annotation,
    rank,
)
from ingle_core.placement.whatif import spare_w
from ingle_kit.drains import drains
from ingle_kit.names import ANNOTATION_PLACEMENT
from ingle_kit.objects import timestamp_s

NOT_SELECTED: Final = "NodeNotSelected"
_BY_NAME: Final = {name: reason for reason, name in NAMES.items()}
_SHOWN_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class GpuRoom:
    """One GPU: what is left, and whether it may be used."""

    product: str
    left_mib: int
    healthy: bool
    busy: bool


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """One node. `spare_w` None: watts are not limited. `zones`: host MiB left by NUMA zone."""

    spare_w: int | None
    gpus: tuple[GpuRoom, ...]
    zones: tuple[tuple[int, int], ...]
    silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """Why a node was taken (Fits) or not, with the figures."""

    node: str
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the pod would go now; `node` None: nowhere. `left_out`: nodes that are not listed."""

    node: str | None
    gpus: tuple[str, ...]
    nodes: tuple[NodeVerdict, ...]
    left_out: int = 0


def ask_of(pod: Object) -> Ask | None:
    """What the pod asks for, None where it has no placement annotation. ValueError says what is wrong in it."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_PLACEMENT)
    return None if text is None else ask_from_annotation(text)


def of_objects(
    ask: Ask,
    pod: Object,
    gpu_nodes: Sequence[GpuNode],
    nodes: Mapping[str, Object] | None,
    *,
    now_s: float,
    context: Context = NOTHING_ELSE,
) -> Placing:
    """Ranks all nodes as if the pod were placed now and held nothing. `now_s`: Unix seconds.

    `nodes`: Kubernetes Nodes by name; None where they cannot be read, then all count as ready and selected.
    `context`: what the pools say.
    """
    uid, columns = pod["metadata"]["uid"], Columns()
    for node in gpu_nodes:
        columns.update(node.metadata.name, facts_of(node, nodes, uid))
    selected = _selected(pod, columns, nodes)
    ranking = rank(ask, columns, selected, now_s=now_s, context=context)
    verdicts = [
        _verdict(ask, name, ranking, columns, name in selected, now_s) for name in sorted(columns.facts)
    ]
    return Placing(ranking.node, ranking.gpus, tuple(verdicts))


def of_extender(ask: Ask, now: Mapping[str, Any]) -> Placing:
    """The part `now` of the extender's answer. KeyError or TypeError where it has another shape."""
    verdicts = tuple(
        NodeVerdict(one["node"], one["reason"], why(ask, one["reason"], room_told(one)))
        for one in now["nodes"]
    )
    return Placing(now["node"], tuple(now["gpus"]), verdicts, int(now.get("nodesLeftOut", 0)))


def why(ask: Ask, reason: str, room: NodeRoom) -> str:
    """The figures behind a verdict; the fixed text where figures say no more."""
    usable = [gpu for gpu in room.gpus if gpu.healthy]
    match _BY_NAME.get(reason):
        case Reason.WRONG_PRODUCT:
            here = ", ".join(dict.fromkeys(gpu.product for gpu in room.gpus)) or "none"
            return f"asks for {' or '.join(ask.products)}; the node has {here}"
        case Reason.GPU_UNHEALTHY:
            return f"{len(usable)} of {len(room.gpus)} GPUs can be used, {ask.gpus} asked"
        case Reason.INSUFFICIENT_MEMORY:
            most = sorted((gpu.left_mib for gpu in usable), reverse=True)[:_SHOWN_MAX]
            left = ", ".join(str(max(0, mib)) for mib in most) or "none"
            return f"asks for {ask.gpus} × {ask.memory_mib.awake} MiB; the emptiest GPUs have {left} MiB left"
        case Reason.INSUFFICIENT_WATTS:
            return f"asks for {ask.gpus * ask.watts} W; {max(0, room.spare_w or 0)} W are not charged yet"
        case Reason.TRANSITION_BUSY:
            busy = sum(gpu.busy for gpu in usable)
            return f"{busy} of {len(usable)} GPUs have an engine that starts, sleeps, wakes or stops"
        case Reason.INSUFFICIENT_HOST_MEMORY:
            zones = ", ".join(f"{zone}: {max(0, mib)}" for zone, mib in room.zones) or "no zones"
            return f"asks for {ask.memory_mib.host} MiB for its sleep; left by NUMA zone: {zones} MiB"
        case Reason.AGENT_SILENT if room.silent_s is not None:
            trouble = "; it reports trouble" if room.silent_s <= SILENT_AFTER_S else ""
            return f"last heard {ago(room.silent_s)}{trouble}"
        case None:
            return "lacks a label that the pod's nodeSelector names" if reason == NOT_SELECTED else ""
        case known:
            return TEXTS[known]


def without(facts: GpuNodeFacts, node: GpuNode, uid: str) -> GpuNodeFacts:
    """The node as it would be if that pod held nothing: its claims and what it took for them are given back."""
    if node.spec.holder(uid) is None:
        return facts
    moving = {pod.uid for pod in node.spec.pods if pod.state in TRANSITIONS and pod.uid != uid}
    gpus = []
    for gpu, ledger in zip(facts.gpus, node.spec.gpus, strict=True):
        own = [claim for claim in ledger.claims if claim.pod_uid == uid]
        gpus.append(
            replace(
                gpu,
                headroom_mib=gpu.headroom_mib + sum(claim.memory_mib for claim in own),
                claimed_w=gpu.claimed_w - sum(claim.watts for claim in own),
                busy=any(claim.pod_uid in moving for claim in ledger.claims),
            )
        )
    zones = []
    for zone, host in zip(facts.zones, node.spec.zones, strict=True):
        own_mib = sum(claim.memory_mib for claim in host.claims if claim.pod_uid == uid)
        zones.append(replace(zone, headroom_mib=zone.headroom_mib + own_mib))
    return replace(facts, gpus=tuple(gpus), zones=tuple(zones))


def facts_of(node: GpuNode, nodes: Mapping[str, Object] | None, uid: str = "") -> GpuNodeFacts:
    """The node as it would be if that pod held nothing. `nodes`: None where they cannot be read, all count as ready."""
    ready, cordoned = True, False
    if nodes is not None:
        found = nodes.get(node.metadata.name) or {}
        conditions = (found.get("status") or {}).get("conditions") or ()
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        labels = (found.get("metadata") or {}).get("labels") or {}
        cordoned = drains(bool((found.get("spec") or {}).get("unschedulable")), labels)
    try:
        heard_at_s = timestamp_s(node.status.heartbeat_at)
    except ValueError:
        heard_at_s = float("-inf")  # it has never written
    return without(node_facts(node, heard_at_s=heard_at_s, ready=ready, cordoned=cordoned), node, uid)


def _selected(pod: Object, columns: Columns, nodes: Mapping[str, Object] | None) -> list[str]:
    """Nodes with the labels of the pod's nodeSelector, which kube-scheduler looks at before the extender."""
    wanted = set((pod["spec"].get("nodeSelector") or {}).items())
    if nodes is None or not wanted:
        return list(columns.facts)
    labels = {name: nodes.get(name, {}).get("metadata", {}).get("labels") or {} for name in columns.facts}
    return [name for name, has in labels.items() if wanted <= set(has.items())]


def _verdict(
    ask: Ask, name: str, ranking: Ranking, columns: Columns, selected: bool, now_s: float
) -> NodeVerdict:
    reason = NAMES[ranking.reason(name)] if selected else NOT_SELECTED
    return NodeVerdict(name, reason, why(ask, reason, room_of(columns.facts[name], now_s)))


def room_of(facts: GpuNodeFacts, now_s: float) -> NodeRoom:
    """The figures of a node. `now_s`: Unix seconds, as `heard_at_s` of the facts."""
    known = facts.heard_at_s != float("-inf")
    return NodeRoom(
        spare_w(facts, ""),
        tuple(GpuRoom(gpu.product, gpu.headroom_mib, gpu.healthy, gpu.busy) for gpu in facts.gpus),
        tuple((zone.zone, zone.headroom_mib) for zone in facts.zones),
        now_s - facts.heard_at_s if known else None,
    )


def room_told(one: Mapping[str, Any]) -> NodeRoom:
    """The figures that the extender tells of a node."""
    return NodeRoom(
        one["spareWatts"],
        tuple(GpuRoom(g["product"], g["headroomMiB"], g["healthy"], g["busy"]) for g in one["gpus"]),
        tuple((zone["zone"], zone["headroomMiB"]) for zone in one["zones"]),
    )
