"""Facts from ledger and measurement, and columns that follow them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ingle_core.facts import (
    Columns,
    GpuFacts,
    GpuMemory,
    GpuNode,
    GpuNodeFacts,
    memory_headroom_mib,
    node_facts,
)
from ingle_core.facts.columns import SCATTERED_MOST


@pytest.mark.parametrize(
    ("claimed", "free", "foreign", "current", "headroom"),
    [
        (0, 80, 0, True, 80),  # empty
        (40, 80, 0, True, 40),  # claimed, not yet taken
        (40, 40, 0, True, 40),  # taken
        (40, 20, 20, True, 20),  # a stranger took 20 after the claim
        (2, 40, 0, True, 40),  # our process kept 38 more than its claim
        (2, 40, 0, False, 78),  # it gave them back just now: the measurement is older than the claim
        (40, 30, 50, True, -10),  # a stranger took what was claimed
    ],
)
def test_headroom_is_the_less_of_what_is_unclaimed_and_what_is_free(
    claimed: int, free: int, foreign: int, current: bool, headroom: int
) -> None:
    measured = GpuMemory(total=80, free=free, foreign=foreign)
    assert memory_headroom_mib(80, claimed, measured, current) == headroom


def gpu_node(**status: Any) -> GpuNode:
    claim = {"podUID": "p", "memoryMiB": 30, "watts": 200}
    gpu = {"uuid": "G0", "allocatableMiB": 80, "floorWatts": 90, "claims": [claim]}
    pods = [{"uid": "p", "pool": "a/b", "state": "Waking", "epoch": 1, "at": ""}]
    spec = {"revision": 3, "gpus": [gpu], "zones": [], "pods": pods}
    return GpuNode.from_dict({"metadata": {"name": "n"}, "spec": spec, "status": status})


def test_a_gpu_is_unhealthy_unless_it_is_reported_healthy_and_whole() -> None:
    seen = {"uuid": "G0", "index": 0, "product": "H100", "memoryMiB": {"total": 80, "free": 80}}
    assert node_facts(gpu_node(gpus=[seen]), heard_at_s=0).gpus[0].healthy
    for wrong in ([], [seen | {"health": "Lost"}], [seen | {"mig": True}]):
        assert not node_facts(gpu_node(gpus=wrong), heard_at_s=0).gpus[0].healthy


def test_a_gpu_is_busy_while_a_pod_on_it_is_in_a_transition() -> None:
    facts = node_facts(gpu_node(), heard_at_s=0)
    assert facts.gpus[0].busy
    assert (facts.gpus[0].claimed_w, facts.gpus[0].floor_w, facts.allotted_w) == (200, 90, None)


def test_engines_that_start_are_the_fetches_of_their_node() -> None:
    node = gpu_node()
    assert node_facts(node, heard_at_s=0).fetches == 0
    starting = tuple(replace(pod, state="Starting") for pod in node.spec.pods)
    node = replace(node, spec=replace(node.spec, pods=starting))
    assert node_facts(node, heard_at_s=0).fetches == 1


def test_a_condition_of_the_agent_stops_new_claims() -> None:
    bad = {"type": "Ready", "status": "False", "reason": "X", "lastTransitionTime": "t"}
    assert not node_facts(gpu_node(conditions=[bad]), heard_at_s=0).reporting
    assert node_facts(gpu_node(), heard_at_s=0).reporting


def test_a_lost_gpu_does_not_close_its_node() -> None:
    lost = {"type": "Ready", "status": "False", "reason": "GPULost"}
    assert node_facts(gpu_node(conditions=[lost]), heard_at_s=0).reporting


def test_columns_grow_forget_and_use_rows_again() -> None:
    columns = Columns(nodes=1, gpus=1, zones=1)
    for i in range(5):
        members = tuple(GpuFacts(f"{i}-{g}", "H", 80, 70 - i) for g in range(i + 1))
        columns.update(f"n{i}", GpuNodeFacts(members, allotted_w=500))
    columns.remove("n1")
    columns.remove("n1")
    columns.update("new", GpuNodeFacts((GpuFacts("x", "H", 80, 5),)))
    assert columns.rows == 5
    assert columns.row["new"] == 1
    assert columns.gpu["headroom_mib"][:, 1].tolist() == [5, 0, 0, 0, 0]
    order = columns.name_order()
    assert [order[columns.row[n]] for n in ("n0", "n2", "n3", "n4", "new")] == [0, 1, 2, 3, 4]


def test_many_names_are_found_before_and_after_they_are_put_side_by_side() -> None:
    columns = Columns(nodes=1)
    names = [f"n{i}" for i in range(3 * SCATTERED_MOST)]
    for name in names:
        columns.update(name, GpuNodeFacts((GpuFacts("x", "H", 80, 70),)))
    scattered = columns.row
    assert columns.rows_of(["n7", "none", "n3"]).tolist() == [7, -1, 3]
    assert columns.row is not scattered
    assert columns.row == scattered
    columns.remove("n3")
    assert columns.rows_of(["n7", "none", "n3"]).tolist() == [7, -1, -1]
    columns.update("new", GpuNodeFacts((GpuFacts("x", "H", 80, 70),)))
    assert columns.rows_of([*names[:3], "new"]).tolist() == [0, 1, 2, 3]
