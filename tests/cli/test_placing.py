"""Why a pod is here and not there, from objects alone, with the same `rank` that places pods."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ingle_cli.explain.placing import NodeRoom, Placing, ask_of, of_extender, of_objects, why
from ingle_cli.explain.pod_text import Story, pod_text
from ingle_cli.text import console, rendered
from ingle_core.facts import GpuNode
from ingle_core.placement import Ask, AskMemory
from ingle_kit.names import ANNOTATION_PLACEMENT
from ingle_kit.objects import timestamp

NOW_S = 1_800_000_000.0
ASK = Ask(AskMemory(40000), watts=400)
POD: dict[str, Any] = {"metadata": {"uid": "me", "name": "p", "namespace": "chat"}, "spec": {}, "status": {}}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def node(
    name: str,
    *claims: tuple[str, int, int, str],
    taken: bool = True,
    watts: int | None = None,
    heard_s: float = 1.0,
    product: str = "H100",
) -> GpuNode:
    """One GPU of 80 000 MiB; `claims`: (pod UID, MiB, W, state); `taken`: the pods hold what they claim."""
    held = [{"podUID": uid, "memoryMiB": mib, "watts": w} for uid, mib, w, _ in claims]
    used = sum(mib for _, mib, _, _ in claims) if taken else 0
    gpu = {"uuid": f"GPU-{name}", "allocatableMiB": 80000, "floorWatts": 100, "claims": held}
    pods = [{"uid": uid, "pool": "chat/p", "state": state} for uid, _, _, state in claims]
    spec: dict[str, Any] = {"revision": 3, "gpus": [gpu], "pods": pods}
    memory = {"total": 80000, "free": 80000 - used}
    seen = {"uuid": f"GPU-{name}", "product": product, "memoryMiB": memory}
    status = {"observedRevision": 3, "heartbeatAt": timestamp(NOW_S - heard_s), "gpus": [seen]}
    spec |= {} if watts is None else {"wattsAllotted": watts}
    return GpuNode.from_dict({"metadata": {"name": name}, "spec": spec, "status": status})


def placed(*nodes: GpuNode, ask: Ask = ASK, pod: dict[str, Any] = POD, **kube: dict[str, Any]) -> Placing:
    return of_objects(ask, pod, nodes, kube or None, now_s=NOW_S)


def reasons(placing: Placing) -> dict[str, str]:
    return {one.node: one.reason for one in placing.nodes}


@pytest.mark.parametrize("taken", [True, False])
def test_a_placed_pod_is_judged_as_if_it_held_nothing(taken: bool) -> None:
    mine = node("a", ("me", 70000, 400, "Waking"), taken=taken, watts=500)
    found = placed(mine, node("b", ("x", 60000, 300, "Awake")), ask=Ask(AskMemory(70000), watts=400))

    assert found.node == "a"
    assert reasons(found) == {"a": "Fits", "b": "InsufficientMemory"}


def test_what_others_hold_beside_it_still_counts() -> None:
    full = node("a", ("me", 30000, 300, "Awake"), ("x", 45000, 300, "Awake"))

    assert reasons(placed(full)) == {"a": "InsufficientMemory"}
    assert placed(full).nodes[0].why == "asks for 1 × 40000 MiB; the emptiest GPUs have 35000 MiB left"


def test_each_node_has_its_own_reason_with_figures() -> None:
    found = placed(
        node("busy", ("x", 1000, 10, "Starting")),
        node("dark", watts=300),
        node("full", ("x", 60000, 300, "Awake")),
        node("mute", heard_s=300),
        node("old", product="A100"),
        ask=Ask(AskMemory(40000), watts=400, products=("H100",)),
    )

    assert {one.node: (one.reason, one.why) for one in found.nodes} == {
        "busy": ("TransitionBusy", "1 of 1 GPUs have an engine that starts, sleeps, wakes or stops"),
        "dark": ("InsufficientWatts", "asks for 400 W; 200 W are not charged yet"),
        "full": ("InsufficientMemory", "asks for 1 × 40000 MiB; the emptiest GPUs have 20000 MiB left"),
        "mute": ("AgentSilent", "last heard 5 min ago"),
        "old": ("WrongProduct", "asks for H100; the node has A100"),
    }


def test_cordoned_unready_and_unselected_nodes_are_told_apart() -> None:
    picky = POD | {"spec": {"nodeSelector": {"row": "a"}}}
    row = {"metadata": {"labels": {"row": "a"}}}
    found = placed(
        *(node(name) for name in ("cordoned", "gone", "good", "other", "unready")),
        pod=picky,
        cordoned=row | {"status": READY, "spec": {"unschedulable": True}},
        good=row | {"status": READY},
        other={"metadata": {}, "status": READY},
        unready=row,
    )

    assert found.node == "good"
    assert reasons(found) == {
        "cordoned": "Cordoned",
        "gone": "NodeNotSelected",
        "good": "Fits",
        "other": "NodeNotSelected",
        "unready": "NodeNotReady",
    }


def test_the_extenders_answer_reads_the_same() -> None:
    gpu = {
        "uuid": "GPU-a",
        "product": "H100",
        "headroomMiB": 20000,
        "healthy": True,
        "busy": False,
        "numa": 0,
    }
    one = {
        "node": "a",
        "reason": "InsufficientMemory",
        "text": "t",
        "spareWatts": None,
        "gpus": [gpu],
        "zones": [],
    }
    found = of_extender(ASK, {"node": None, "gpus": [], "nodes": [one], "nodesLeftOut": 7})

    assert found.nodes[0].why == "asks for 1 × 40000 MiB; the emptiest GPUs have 20000 MiB left"
    assert found.left_out == 7


def test_a_reason_of_a_newer_version_does_no_harm() -> None:
    assert why(ASK, "SomethingNew", NodeRoom(None, (), ())) == ""


def test_a_broken_annotation_names_the_field() -> None:
    pod = {"metadata": {"annotations": {ANNOTATION_PLACEMENT: '{"memoryMiB": {"awake": "much"}}'}}}

    with pytest.raises(ValueError, match=r"memoryMiB\.awake"):
        ask_of(pod)


PENDING = """\
Pod chat/p: Pending
  kube-scheduler says: 0/2 nodes are available
  Its pool says: Pending since 20 s; AwaitingPlacement: no room
  Asks: 1 × 40000 MiB awake and 400 W per GPU; asleep 0 MiB per GPU and 0 MiB of host memory; any
  product; NUMA Preferred, NVLink Preferred, Pack
  The scheduler's last filter, 20 s ago, found no node: 2 too little free GPU memory

WHY PENDING: no node fits: 2 × InsufficientMemory (from API objects, without what the scheduler
promised to other pods in the last seconds)
  NODE  VERDICT             WHY
  a     InsufficientMemory  asks for 1 × 40000 MiB; the emptiest GPUs have 20000 MiB left
  b     InsufficientMemory  asks for 1 × 40000 MiB; the emptiest GPUs have 10000 MiB left
"""


def test_a_pending_pod_is_told_who_said_no_and_why() -> None:
    said = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
    pod = POD | {"status": {"phase": "Pending", "conditions": [said]}}
    engine = {
        "state": "Pending",
        "since": timestamp(NOW_S - 20),
        "reason": "AwaitingPlacement",
        "message": "no room",
    }
    last = {"filter": {"at": timestamp(NOW_S - 20), "node": None, "text": "2 too little free GPU memory"}}
    placing = placed(node("a", ("x", 60000, 9, "Awake")), node("b", ("x", 70000, 9, "Awake")))
    story = Story(pod, engine=engine, told={"last": last}, ask=ASK, placing=placing)
    text = rendered(pod_text(story, NOW_S), console(io.StringIO(), columns=100))

    assert text.startswith(PENDING)
    assert "\nWHAT IT MEANS\n  InsufficientMemory: " in text


def test_a_placed_pod_is_told_what_won() -> None:
    pod = POD | {"spec": {"nodeName": "a"}, "status": {"phase": "Running"}}
    mine = node("a", ("me", 40000, 400, "Awake"))
    story = Story(pod, ask=ASK, claim_on=mine, placing=placed(mine, node("b")))
    text = rendered(pod_text(story, NOW_S), console(io.StringIO(), columns=140))

    assert "  Holds on a: 40000 MiB, 400 W on GPU-a, Awake since never\n" in text
    assert "WHY HERE: asked again now, it would go to a; the fullest GPUs that fit win" in text
    assert "→  a     Fits       fits\n   b     Outranked  another node was chosen\n" in text
