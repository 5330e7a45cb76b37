"""Which weights are copied to which node's disk, and why others wait."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.prefetch import FetchPlan, Job, Limits, NodeDisk, Want, Why, plan_fetches

EMPTY = NodeDisk(free_mib=1000)
W = Want("w", 100, ("a", "b"))


def planned(
    *wants: Want,
    disks: dict[str, NodeDisk] | None = None,
    running: tuple[Job, ...] = (),
    failed: tuple[Job, ...] = (),
    limits: Limits = Limits(),  # noqa: B008
) -> FetchPlan:
    return plan_fetches(wants, disks or {"a": EMPTY, "b": EMPTY}, running, failed, limits)


def test_a_copy_goes_to_the_likeliest_node() -> None:
    assert planned(W).start == {Job("w", "a"): Why.WANTED}


def test_a_started_copy_is_gone_on_with_where_it_is() -> None:
    disks = {"a": EMPTY, "b": NodeDisk(0, partial=frozenset({"w"}))}
    assert planned(W, disks=disks).start == {Job("w", "b"): Why.GOES_ON}


def test_enough_copies_are_enough_and_others_elsewhere_do_not_count() -> None:
    whole = NodeDisk(1000, whole=frozenset({"w"}))
    assert planned(W, disks={"a": EMPTY, "b": whole}).start == {}
    assert planned(W, disks={"a": EMPTY, "b": EMPTY, "c": whole}).start == {Job("w", "a"): Why.WANTED}
    two = Want("w", 100, ("a", "b"), copies=2)
    assert planned(two, disks={"a": EMPTY, "b": whole}).start == {Job("w", "a"): Why.WANTED}


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        (NodeDisk(1000, loads=True), Why.ENGINE_LOADS),
        (NodeDisk(1000, fit=False), Why.NODE_UNFIT),
        (NodeDisk(149), Why.NO_ROOM),
        (NodeDisk(1000), Why.FAILED_LATELY),
    ],
)
def test_a_node_that_cannot_take_a_copy_is_passed_over_and_where_none_can_the_reason_is_told(
    disk: NodeDisk, why: Why
) -> None:
    failed, limits = (Job("w", "a"),) if why is Why.FAILED_LATELY else (), Limits(reserve_mib=50)
    disks = {"a": disk, "b": EMPTY}
    assert planned(W, disks=disks, failed=failed, limits=limits).start == {Job("w", "b"): Why.WANTED}
    alone = planned(W, disks={"a": disk}, failed=failed, limits=limits)
    assert (alone.start, alone.waits) == ({}, {"w": why})


def test_without_a_node_there_is_nothing_to_do() -> None:
    assert planned(Want("w", 100, ("gone",))).waits == {"w": Why.NO_NODE}


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        (NodeDisk(1000, loads=True), Why.ENGINE_LOADS),
        (NodeDisk(1000, fit=False), Why.NODE_UNFIT),
        (NodeDisk(1000, whole=frozenset({"w"})), Why.WHOLE),
    ],
)
def test_a_copier_stops_for_an_engine_that_loads_for_a_node_that_goes_and_when_it_is_done(
    disk: NodeDisk, why: Why
) -> None:
    assert planned(W, disks={"a": disk, "b": EMPTY}, running=(Job("w", "a"),)).stop == {Job("w", "a"): why}


def test_a_copier_nobody_wants_stops_and_one_on_any_wanted_node_goes_on() -> None:
    assert planned(running=(Job("w", "a"),)).stop == {Job("w", "a"): Why.NOT_WANTED}
    assert planned(W, running=(Job("w", "b"),)) == FetchPlan()
    done = {"a": NodeDisk(1000, whole=frozenset({"w"})), "b": EMPTY}
    assert planned(W, disks=done, running=(Job("w", "b"),)).stop == {Job("w", "b"): Why.NOT_WANTED}


def test_weights_without_a_copy_come_before_a_second_copy_of_others_and_then_by_worth() -> None:
    disks = {"a": NodeDisk(1000, whole=frozenset({"had"})), "b": EMPTY}
    had = Want("had", 1, ("a", "b"), copies=2, worth=9)
    less, more = Want("less", 1, ("b",), worth=1), Want("more", 1, ("b",), worth=2)
    plan = planned(had, less, more, disks=disks)
    assert plan.start == {Job("more", "b"): Why.WANTED}
    assert plan.waits == {"less": Why.TOO_MANY, "had": Why.TOO_MANY}


def test_a_stopped_copier_holds_its_place_until_it_is_gone() -> None:
    plan = planned(W, running=(Job("old", "a"),), limits=Limits(total=1))
    assert (plan.stop, plan.waits) == ({Job("old", "a"): Why.NOT_WANTED}, {"w": Why.TOO_MANY})


def test_room_that_a_running_copier_will_take_is_not_given_twice() -> None:
    disks = {"a": NodeDisk(150)}
    plan = planned(
        W, Want("x", 100, ("a",)), disks=disks, running=(Job("w", "a"),), limits=Limits(per_node=2)
    )
    assert (plan.stop, plan.waits) == ({}, {"x": Why.NO_ROOM})


NODES, NAMES = ("a", "b", "c"), ("u", "v", "w")
DISKS = st.dictionaries(
    st.sampled_from(NODES),
    st.builds(
        NodeDisk,
        free_mib=st.integers(0, 300),
        whole=st.frozensets(st.sampled_from(NAMES)),
        partial=st.frozensets(st.sampled_from(NAMES)),
        loads=st.booleans(),
        fit=st.booleans(),
    ),
)
WANTS = st.lists(
    st.builds(
        Want,
        weights=st.sampled_from(NAMES),
        size_mib=st.integers(1, 100),
        nodes=st.permutations(NODES).map(tuple),
        copies=st.integers(1, 3),
        worth=st.floats(0, 9),
    ),
    max_size=5,
)
JOBS = st.sets(st.builds(Job, weights=st.sampled_from(NAMES), node=st.sampled_from(NODES)), max_size=6)
LIMITS = st.builds(
    Limits, per_node=st.integers(1, 2), total=st.integers(1, 3), reserve_mib=st.integers(0, 50)
)


@settings(max_examples=200, deadline=None)
@given(wants=WANTS, disks=DISKS, running=JOBS, failed=JOBS, limits=LIMITS)
def test_no_plan_breaks_a_limit_or_disturbs_a_load(
    wants: list[Want], disks: dict[str, NodeDisk], running: set[Job], failed: set[Job], limits: Limits
) -> None:
    plan = plan_fetches(wants, disks, running, failed, limits)
    assert set(plan.stop) <= running
    assert not set(plan.start) & (running | failed)
    left = (running - set(plan.stop)) | set(plan.start)
    assert len(left) <= limits.total
    assert all(count <= limits.per_node for count in Counter(job.node for job in left).values())
    for job in left:
        assert disks[job.node].fit
        assert not disks[job.node].loads
        assert job.weights not in disks[job.node].whole


@settings(max_examples=100, deadline=None)
@given(wants=WANTS, disks=DISKS, limits=LIMITS)
def test_what_a_plan_starts_the_next_one_leaves_alone(
    wants: list[Want], disks: dict[str, NodeDisk], limits: Limits
) -> None:
    started = set(plan_fetches(wants, disks, (), (), limits).start)
    again = plan_fetches(wants, disks, started, (), limits)
    assert not again.stop
