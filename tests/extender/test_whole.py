"""A node whose ledger lacks an engine that runs there takes nothing new until it has it again."""

from __future__ import annotations

from typing import Any

import msgspec

from ingle_core.facts import GpuNodeFacts
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.wire import Pod
from ingle_kit.names import ANNOTATION_GPUS


def gpu_node(*pods: str, revision: int, uid: str = "u") -> Seen:
    held = [{"uid": pod, "pool": "a/b", "state": "Awake", "epoch": 0, "at": ""} for pod in pods]
    spec = {"revision": revision, "gpus": [], "zones": [], "pods": held}
    return Seen.of({"metadata": {"name": "n", "uid": uid}, "spec": spec})


def pod(uid: str, node: str = "n", gpus: str = "GPU-0") -> Pod:
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "annotations": {ANNOTATION_GPUS: gpus}}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}}, Pod)


def whole(nodes: Nodes) -> bool:
    facts: GpuNodeFacts = nodes.columns.facts["n"]
    return facts.whole


def test_a_ledger_that_came_back_older_is_behind_until_the_claim_is_back() -> None:
    nodes = Nodes(on_claimed=lambda uids: None)
    nodes.take("n", gpu_node("p", revision=5))
    nodes.take_pod(pod("p", node=""), pod("p"))
    assert whole(nodes)
    nodes.take("n", gpu_node(revision=3, uid="made anew"))
    assert not whole(nodes)
    nodes.take("n", gpu_node("p", revision=4, uid="made anew"))
    assert whole(nodes)


def test_a_pod_that_is_gone_or_has_no_gpus_from_us_is_not_missed() -> None:
    nodes = Nodes(on_claimed=lambda uids: None)
    nodes.take("n", gpu_node(revision=1))
    nodes.take_pod(None, pod("stranger", gpus=""))
    assert whole(nodes)
    nodes.take_pod(None, pod("p"))
    nodes.take_pod(pod("p"), pod("p"))
    assert not whole(nodes)
    nodes.take_pod(pod("p"), None)
    assert whole(nodes)


def test_a_pod_that_is_known_before_its_node_counts() -> None:
    nodes = Nodes(on_claimed=lambda uids: None)
    nodes.take_pod(None, pod("p"))
    nodes.take("n", gpu_node(revision=1))
    assert not whole(nodes)
