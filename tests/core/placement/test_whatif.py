"""Pods placed in turn see each other as claims, starting and charged; what follows a choice is in its figures."""

from __future__ import annotations

from dataclasses import replace

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, ZoneFacts
from ingle_core.placement import Ask, AskMemory, Assumed, Ranking, Reason, rank
from ingle_core.placement.whatif import Turn, assumed_of, facts_beside, growth_w, in_turn, spare_w

ASK = Ask(memory_mib=AskMemory(awake=40000, host=10000), watts=300)


def node(name: str, *, gpus: int = 2, allotted_w: int | None = 1000) -> GpuNodeFacts:
    made = tuple(GpuFacts(f"{name}-{i}", "H100", 80000, 80000, numa=0, floor_w=100) for i in range(gpus))
    return GpuNodeFacts(made, (ZoneFacts(0, 100000),), allotted_w)


def placed(columns: Columns, count: int, assumed: tuple[Assumed, ...] = ()) -> list[Turn]:
    return in_turn(ASK, count, lambda earlier: rank(ASK, columns, None, earlier, now_s=0.0), assumed)


def test_each_pod_takes_another_gpu_until_none_is_left_and_the_last_says_why() -> None:
    columns = Columns()
    columns.update("a", node("a"))
    turns = placed(columns, 5)

    assert [turn.ranking.gpus for turn in turns] == [("a-0",), ("a-1",), ()]
    assert turns[-1].choice is None
    assert turns[-1].ranking.counts == {Reason.TRANSITION_BUSY: 1}
    assert [len(turn.earlier) for turn in turns] == [0, 1, 2]


def test_what_is_assumed_for_others_is_off_for_all_of_them() -> None:
    columns = Columns()
    columns.update("a", node("a"))
    turns = placed(columns, 5, (Assumed("other", "a", ("a-0",), 40000, 300),))

    assert [turn.ranking.gpus for turn in turns] == [("a-1",), ()]


def test_one_turn_is_the_same_as_rank() -> None:
    columns = Columns()
    for name in "cba":
        columns.update(name, node(name, allotted_w=None))
    alone: Ranking = rank(ASK, columns, now_s=0.0)
    (turn,) = placed(columns, 1)

    assert (turn.ranking.node, turn.ranking.gpus) == (alone.node, alone.gpus) == ("a", ("a-0",))
    assert turn.choice == assumed_of(ASK, alone, "turn-0")


def test_the_floor_is_charged_once_and_the_rest_grows() -> None:
    facts = node("a")
    one = Assumed("x", "a", ("a-0",), 40000, 300)
    two = Assumed("y", "a", ("a-0",), 40000, 300)

    assert (spare_w(facts, "a"), growth_w(facts, one)) == (800, 200)
    assert (spare_w(facts, "a", [one]), growth_w(facts, two, [one])) == (600, 300)
    assert growth_w(replace(facts, allotted_w=None), one) == 200
    assert spare_w(replace(facts, allotted_w=None), "a", [one]) is None


def test_the_next_pod_sees_the_room_that_is_left() -> None:
    beside = facts_beside(node("a"), "a", [Assumed("x", "a", ("a-1",), 40000, 300, 0, 10000)])

    assert [(g.headroom_mib, g.claimed_w, g.busy) for g in beside.gpus] == [
        (80000, 0, False),
        (40000, 300, True),
    ]
    assert beside.zones == (ZoneFacts(0, 90000),)
