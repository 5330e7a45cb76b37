"""Placement: one node and its GPUs, and a reason for each other node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, ZoneFacts
from ingle_core.placement import Ask, AskMemory, Assumed, Ranking, Reason, ask_from_annotation, rank
from ingle_core.placement.scorers import mean_of_best
from ingle_core.placement.whatif import assumed_of

DGX_NUMA = (3, 3, 1, 1, 7, 7, 5, 5)


def gpus(
    name: str, *headroom_mib: int, numa: tuple[int, ...] = DGX_NUMA, links: int = 8
) -> tuple[GpuFacts, ...]:
    """GPUs with that headroom; each `links` of them in a row are linked with each other."""
    uuids = [f"{name}-{i}" for i in range(len(headroom_mib))]
    return tuple(
        GpuFacts(
            uuid=uuid,
            product="H100",
            allocatable_mib=80000,
            headroom_mib=headroom_mib[i],
            numa=numa[i],
            floor_w=100,
            nvlink_peers=tuple(uuids[i // links * links : i // links * links + links]),
        )
        for i, uuid in enumerate(uuids)
    )


def node(name: str, *headroom_mib: int, **more: Any) -> GpuNodeFacts:
    zones = tuple(ZoneFacts(zone, 100000) for zone in range(8))
    return GpuNodeFacts(gpus(name, *headroom_mib), zones=zones, **more)


def columns(**nodes: GpuNodeFacts) -> Columns:
    made = Columns(nodes=2, gpus=2, zones=1)  # small, so that all tests also grow it
    for name, facts in nodes.items():
        made.update(name, facts)
    return made


def ask(awake: int = 40000, host: int = 0, **more: Any) -> Ask:
    return Ask(AskMemory(awake, 1000, host), **{"watts": 300, **more})


def decide(asked: Ask, made: Columns, *assumed: Assumed, names: list[str] | None = None) -> Ranking:
    return rank(asked, made, names, assumed, now_s=0.0)


def test_pack_takes_the_fullest_gpu_that_fits_and_spread_the_emptiest() -> None:
    made = columns(a=node("a", 80000, 41000), b=node("b", 45000, 30000))
    assert decide(ask(), made).gpus == ("a-1",)
    assert decide(ask(strategy="Spread"), made).gpus == ("a-0",)


def test_equal_nodes_are_taken_by_least_idle_memory_then_by_name() -> None:
    made = columns(b=node("b", 50000, 50000), c=node("c", 50000), a=node("a", 50000, 50000))
    assert decide(ask(), made).node == "c"
    made.remove("c")
    assert decide(ask(), made).node == "a"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(node("x", 80000), ready=False), Reason.NODE_NOT_READY),
        (replace(node("x", 80000), cordoned=True), Reason.CORDONED),
        (replace(node("x", 80000), heard_at_s=-91.0), Reason.AGENT_SILENT),
        (replace(node("x", 80000), reporting=False), Reason.AGENT_SILENT),
        (replace(node("x"), gpus=(replace(gpus("x", 80000)[0], product="T4"),)), Reason.WRONG_PRODUCT),
        (replace(node("x"), gpus=(replace(gpus("x", 80000)[0], healthy=False),)), Reason.GPU_UNHEALTHY),
        (node("x", 39999), Reason.INSUFFICIENT_MEMORY),
        (replace(node("x", 80000), allotted_w=299), Reason.INSUFFICIENT_WATTS),
        (replace(node("x"), gpus=(replace(gpus("x", 80000)[0], busy=True),)), Reason.TRANSITION_BUSY),
        (replace(node("x", 80000), zones=(ZoneFacts(3, 999),)), Reason.INSUFFICIENT_HOST_MEMORY),
        (replace(node("x", 80000), zones=()), Reason.INSUFFICIENT_HOST_MEMORY),
    ],
)
def test_each_filter_has_its_reason(facts: GpuNodeFacts, reason: Reason) -> None:
    asked = ask(host=1000, products=("H100",))
    ranking = decide(asked, columns(x=facts, y=node("y", 10)), names=["x", "y", "nobody"])
    assert ranking.node is None
    assert ranking.reason("x") == reason
    assert ranking.reason("nobody") == Reason.NOT_MANAGED
    assert sum(ranking.counts.values()) == 3
    assert decide(asked, columns(x=node("x", 80000))).node == "x"


def test_only_offered_nodes_are_taken() -> None:
    made = columns(a=node("a", 80000), b=node("b", 41000))
    ranking = decide(ask(), made, names=["a"])
    assert ranking.node == "a"
    assert ranking.refused() == {}
    assert decide(ask(), made, names=[]).node is None


def test_watts_count_only_above_what_an_idle_gpu_is_charged() -> None:
    made = columns(a=replace(node("a", 80000, 80000), allotted_w=400))
    assert decide(ask(watts=300), made).node == "a"
    assert decide(ask(watts=301), made).node is None
    assert decide(ask(watts=200, gpus=2), made).node == "a"
    assert decide(ask(watts=201, gpus=2), made).node is None


def test_an_ask_below_the_floor_fits_where_the_allotment_is_already_exceeded() -> None:
    made = columns(a=replace(node("a", 80000), allotted_w=50))
    assert decide(ask(watts=100), made).node == "a"


def test_an_assumed_choice_is_taken_off_memory_watts_host_memory_and_its_transition_slot() -> None:
    facts = replace(node("a", 80000, 80000), allotted_w=900, zones=(ZoneFacts(3, 30000),))
    made = columns(a=facts)
    taken = Assumed("p", "a", ("a-0",), 20000, 300, 3, 20000)
    assert decide(ask(), made, taken).gpus == ("a-1",)
    assert decide(ask(host=20000), made, taken).reason("a") == Reason.INSUFFICIENT_HOST_MEMORY
    assert decide(ask(watts=601), made, taken).reason("a") == Reason.INSUFFICIENT_WATTS
    assert decide(ask(), made, taken, replace(taken, gpus=("a-1",))).reason("a") == Reason.TRANSITION_BUSY
    assert decide(ask(), made, replace(taken, node="gone")).node == "a"
    assert decide(ask(), made).gpus == ("a-0",)


def test_numa_required_keeps_gpus_and_host_memory_in_one_zone_by_what_nvml_says() -> None:
    zones = tuple(ZoneFacts(z, 50000 if z == 7 else 10000) for z in range(8))
    made = columns(dgx=replace(node("dgx", *[80000] * 8), zones=zones))
    ranking = decide(ask(gpus=2, host=30000, numa="Required"), made)
    assert ranking.gpus == ("dgx-4", "dgx-5")
    assert ranking.host_zone == 7
    assert decide(ask(gpus=3, numa="Required"), made).reason("dgx") == Reason.NUMA_SPLIT
    assert decide(ask(gpus=3, numa="Preferred"), made).node == "dgx"
    assert decide(ask(host=60000, numa="Required"), made).reason("dgx") == Reason.INSUFFICIENT_HOST_MEMORY


def test_numa_preferred_goes_near_the_host_memory_and_none_does_not_care() -> None:
    zones = (ZoneFacts(3, 0), ZoneFacts(1, 50000), ZoneFacts(5, 90000))
    made = columns(dgx=replace(node("dgx", *[80000] * 8), zones=zones))
    near = decide(ask(host=30000), made)
    assert (near.gpus, near.host_zone) == (("dgx-2",), 1)
    far = decide(ask(host=30000, numa="None"), made)
    assert (far.gpus, far.host_zone) == (("dgx-0",), 5)


def test_nvlink_required_takes_linked_gpus_and_preferred_takes_them_where_it_can() -> None:
    pairs = replace(node("pairs"), gpus=gpus("pairs", 40000, 80000, 80000, 80000, links=2))
    made = columns(pairs=pairs)
    assert decide(ask(gpus=2, awake=60000, nvlink="Required"), made).gpus == ("pairs-2", "pairs-3")
    assert decide(ask(gpus=3, nvlink="Required"), made).reason("pairs") == Reason.NVLINK_SPLIT
    assert decide(ask(gpus=3, numa="None"), made).node == "pairs"
    made.update("whole", node("whole", *[80000] * 4))
    assert decide(ask(gpus=3), made).node == "whole"


def test_nvlink_and_numa_required_together_need_one_group_that_is_both() -> None:
    numa = (0, 1, 1, 0)
    made = columns(x=replace(node("x"), gpus=gpus("x", *[80000] * 4, numa=numa, links=2)))
    strict = ask(gpus=2, numa="Required", nvlink="Required")
    assert decide(strict, made).reason("x") == Reason.NVLINK_SPLIT
    assert decide(ask(gpus=2, numa="Required"), made).gpus == ("x-0", "x-3")


def test_a_node_that_passes_filters_but_has_no_affordable_group_gives_way_to_the_next() -> None:
    # watts: the two cheapest GPUs are in different pairs
    members = gpus("x", *[80000] * 4, links=2)
    x = replace(
        node("x"), gpus=tuple(replace(g, claimed_w=w) for g, w in zip(members, (0, 500, 0, 500), strict=True))
    )
    made = columns(x=replace(x, allotted_w=1200 + 450), y=node("y", 80000, 80000))
    made.update(
        "y",
        replace(
            made.facts["y"],
            gpus=tuple(replace(g, nvlink_peers=("y-0", "y-1")) for g in gpus("y", 80000, 80000)),
        ),
    )
    ranking = decide(ask(gpus=2, nvlink="Required"), made)
    assert ranking.node == "y"
    assert ranking.reason("x") in (Reason.INSUFFICIENT_WATTS, Reason.OUTRANKED)
    made.remove("y")
    assert decide(ask(gpus=2, nvlink="Required"), made).reason("x") == Reason.INSUFFICIENT_WATTS


def test_more_gpus_than_any_node_has_is_no_error() -> None:
    assert decide(ask(gpus=9), columns(a=node("a", *[80000] * 8))).node is None
    assert decide(ask(gpus=1000), columns()).node is None


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"memoryMiB": {"awake": 0}}', '{"memoryMiB": {"awake": 1}, "gpus": 0}']
)
def test_an_unreadable_annotation_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ask_from_annotation(text)


@st.composite
def clusters(draw: st.DrawFn) -> Columns:
    made = Columns(nodes=1, gpus=1, zones=1)
    for name in "abcd"[: draw(st.integers(1, 4))]:
        headroom = draw(st.lists(st.integers(-5, 80), min_size=1, max_size=4))
        links, numa = (
            draw(st.integers(1, 4)),
            tuple(draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))),
        )
        members = tuple(
            replace(g, busy=draw(st.booleans()), claimed_w=draw(st.integers(0, 500)))
            for g in gpus(name, *headroom, numa=numa, links=links)
        )
        zones = tuple(ZoneFacts(z, draw(st.integers(0, 60))) for z in range(draw(st.integers(0, 3))))
        made.update(name, GpuNodeFacts(members, zones, draw(st.none() | st.integers(0, 2000))))
    return made


LEVELS = st.sampled_from(["Required", "Preferred", "None"])


@settings(max_examples=150, deadline=None)
@given(
    clusters(), st.integers(1, 60), st.integers(0, 50), st.integers(0, 400), st.integers(1, 3), LEVELS, LEVELS
)
def test_a_choice_always_fits_and_is_always_the_same(
    made: Columns, awake: int, host: int, watts: int, count: int, numa: str, nvlink: str
) -> None:
    asked = ask(awake, host, watts=watts, gpus=count, numa=numa, nvlink=nvlink)
    ranking = decide(asked, made)
    assert decide(asked, made).gpus == ranking.gpus
    if ranking.node is None:
        return
    facts = made.facts[ranking.node]
    chosen = [gpu for gpu in facts.gpus if gpu.uuid in ranking.gpus]
    assert len(chosen) == count
    assert all(gpu.headroom_mib >= awake and not gpu.busy for gpu in chosen)
    charged = sum(max(g.floor_w, g.claimed_w) for g in facts.gpus)
    growth = sum(max(g.floor_w, g.claimed_w + watts) - max(g.floor_w, g.claimed_w) for g in chosen)
    assert facts.allotted_w is None or growth == 0 or charged + growth <= facts.allotted_w
    if host:
        assert {z.zone: z.headroom_mib for z in facts.zones}[ranking.host_zone or 0] >= host
    if numa == "Required":
        assert len({gpu.numa for gpu in chosen}) == 1
        assert not host or ranking.host_zone == chosen[0].numa
    if nvlink == "Required" and count > 1:
        assert all(b.uuid in a.nvlink_peers for a in chosen for b in chosen)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9))
def test_the_mean_of_the_best_is_that_of_the_sorted(data: st.DataObject, gpus: int) -> None:
    rows = st.lists(st.floats(-1.0, 9.0, width=32), min_size=3, max_size=3)
    scores = np.array(data.draw(st.lists(rows, min_size=gpus, max_size=gpus)), dtype=np.float32)
    count = data.draw(st.integers(1, gpus))
    assert mean_of_best(scores, count).tolist() == np.sort(scores, axis=0)[-count:].mean(axis=0).tolist()


def test_a_spare_takes_nothing_of_a_gpu_that_could_hold_it_awake_alone() -> None:
    full = columns(a=node("a", 0, 0))
    assert decide(ask(80000), full).node is None
    spare = ask(80000, spare=True)
    assert decide(spare, full).node == "a"
    chosen = assumed_of(spare, decide(spare, full), "u")
    assert chosen is not None
    assert (chosen.memory_mib, chosen.watts) == (0, 0)
    assert (
        decide(ask(80001, spare=True), columns(b=node("b", 80000))).reason("b") is Reason.INSUFFICIENT_MEMORY
    )
