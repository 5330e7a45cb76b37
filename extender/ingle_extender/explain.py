"""Why a pod is where it is, or nowhere: the last decision, and the same question asked now."""

from __future__ import annotations

from typing import Any

import msgspec

from ingle_core.placement import NAMES, TEXTS, Ask
from ingle_extender.decisions import Decisions, counted
from ingle_extender.filtering import Filtering
from ingle_extender.nodes import Nodes
from ingle_extender.wire import Pod
from ingle_kit.whatif import figures

NODES_MAX = 200
NOT_SELECTED = ("NodeNotSelected", "node lacks a label that the pod's nodeSelector names")


def explain(pod: Pod, nodes: Nodes, filtering: Filtering, decisions: Decisions) -> dict[str, Any]:
    """One JSON object; at most `NODES_MAX` nodes are listed, the rest only counted. Changes nothing."""
    uid = pod.metadata.uid
    answer: dict[str, Any] = {
        "pod": "/".join(pod.key),
        "uid": uid,
        "node": pod.spec.node_name or None,
        "gpus": list(pod.gpus),
        "claim": _claim(uid, nodes),
        "last": {step: one.to_dict() for step, one in decisions.get(pod.key).items() if one.uid == uid},
    }
    try:
        ask = pod.ask()
    except ValueError as error:
        return answer | {"ask": None, "error": str(error), "now": None}
    return answer | {"ask": msgspec.to_builtins(ask), "now": _now(ask, pod, nodes, filtering)}


def _claim(uid: str, nodes: Nodes) -> dict[str, Any] | None:
    name = nodes.node_of(uid)
    seen = nodes.seen(name) if name else None
    holder = seen.node.spec.holder(uid) if seen else None
    if seen is None or holder is None:
        return None
    return {"node": name, "state": holder.state, "at": holder.at, "gpus": list(seen.node.spec.gpus_of(uid))}


def _now(ask: Ask, pod: Pod, nodes: Nodes, filtering: Filtering) -> dict[str, Any]:
    """What filter would answer if all nodes that the pod selects were offered. A claim that it has counts as taken."""
    selected = nodes.selected(pod.spec.node_selector or {})
    ranking = filtering.rank(ask, pod.metadata.uid, selected)
    names, offered = sorted(nodes.columns.row), set(selected)
    listed = []
    for name in names[:NODES_MAX]:
        reason, text = NAMES[ranking.reason(name)], TEXTS[ranking.reason(name)]
        if name not in offered:
            reason, text = NOT_SELECTED
        listed.append({"node": name, "reason": reason, "text": text, **figures(nodes.columns.facts[name])})
    return {
        "node": ranking.node,
        "gpus": list(ranking.gpus),
        "hostZone": ranking.host_zone,
        "reasons": counted(ranking.counts),
        "nodes": listed,
        "nodesLeftOut": max(0, len(names) - NODES_MAX),
    }
