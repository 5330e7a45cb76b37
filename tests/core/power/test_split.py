"""Budget over nodes: shares, two phases, and the guarantee under any order of writes and late readings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.power import NodePower, Split, Trail, follow, held_w, split


def node(name: str, allotted: int | None = None, enforced: int | None = 800, **facts: Any) -> NodePower:
    values: dict[str, Any] = {"floor_w": 800, "claimed_w": 800, "wanted_w": 800, "max_w": 5600, **facts}
    return NodePower(name, allotted_w=allotted, enforced_w=enforced, **values)


def allots(result: Split) -> dict[str, int]:
    return {part.name: part.allot_w for part in result.nodes}


def test_leftover_is_shared_evenly_up_to_the_maximum() -> None:
    nodes = [node("a", 5600, claimed_w=3000), node("b", 5600), node("c", 5600, max_w=900)]
    result = split(6000 + 900 + 3 * 100, 100, nodes)
    assert {part.name: part.target_w for part in result.nodes} == {"a": 4100, "b": 1900, "c": 900}


def test_claims_come_before_wants() -> None:
    result = split(4000, 0, [node("a", 800, claimed_w=2400), node("b", 800, wanted_w=4000)])
    assert allots(result) == {"a": 2400, "b": 1600}


def test_a_claim_that_fits_the_allotment_moves_no_other_node() -> None:
    before = [node("a", 3000), node("b", 3000)]
    after = [node("a", 3000, claimed_w=2900), node("b", 3000)]
    assert allots(split(6000, 0, before)) == allots(split(6000, 0, after)) == {"a": 3000, "b": 3000}


def test_a_raise_waits_until_the_lower_one_was_read_back() -> None:
    wants = {"claimed_w": 4000}
    first = split(6000, 0, [node("a", 4000, enforced=4000), node("b", 2000, **wants)])
    assert allots(first) == {"a": 2000, "b": 2000}
    unseen = split(6000, 0, [node("a", 2000, enforced=800, held_w=4000), node("b", 2000, **wants)])
    assert allots(unseen) == {"a": 2000, "b": 2000}
    last = split(6000, 0, [node("a", 2000, enforced=2000), node("b", 2000, **wants)])
    assert allots(last) == {"a": 2000, "b": 4000}


def test_a_budget_below_the_minimum_limits_says_so_and_goes_to_the_floors() -> None:
    result = split(1500, 100, [node("a", 3000, enforced=3000), node("b", 3000, enforced=800)])
    assert not result.feasible
    assert result.reasons[0].code == "BelowMinimumLimits"
    assert allots(result) == {"a": 800, "b": 800}
    assert result.cap_w == 6200
    settled = split(1500, 100, [node("a", 800), node("b", 800)])
    assert settled.cap_w == 1800


def test_a_silent_node_is_charged_what_it_last_had_and_others_make_room() -> None:
    result = split(
        6000, 0, [node("a", 3000, enforced=None, last_enforced_w=3500), node("b", 3000, enforced=3000)]
    )
    assert allots(result) == {"a": 3000, "b": 2500}
    assert result.cap_w == 6500


def test_a_node_never_heard_of_is_charged_its_maximum() -> None:
    result = split(7000, 0, [node("a", None, enforced=None), node("b", None, enforced=5600)])
    assert result.cap_w == 11200
    assert allots(result)["b"] == 1400


def test_the_safe_share_is_that_of_the_least_coming_budget() -> None:
    result = split(6000, 0, [node("a", 3000), node("b", 3000)], safe_budget_w=2000)
    assert [part.safe_w for part in result.nodes] == [1000, 1000]


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        split(6000, 0, [node("a"), node("a")])


def test_a_trail_keeps_an_old_allotment_until_a_newer_revision_was_observed() -> None:
    trail = follow(Trail(), 5, 4000, 5)
    trail = follow(trail, 7, 3000, 5)
    trail = follow(trail, 8, 3000, 6)
    assert held_w(trail, 5600) == 4000
    assert held_w(follow(trail, 8, 3000, 7), 5600) == 3000


def test_a_fresh_trail_of_a_node_that_is_behind_counts_its_maximum() -> None:
    assert held_w(follow(Trail(), 5, 1000, 4), 5600) == 5600


@dataclass
class World:
    """Ledgers, agents that see them late and use all they may, and readings that arrive late."""

    budget: int
    host: int
    floors: list[int]
    maxima: list[int]
    ledger: list[list[int | None]] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    enforced: list[int] = field(default_factory=list)
    heard: list[tuple[int, int]] = field(default_factory=list)
    trails: list[Trail] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.floors)
        self.ledger, self.seen = [[None] for _ in range(count)], [0] * count
        self.enforced, self.claims = list(self.maxima), list(self.floors)
        self.heard, self.trails = [(0, watts) for watts in self.enforced], [Trail()] * count

    def nodes(self, silent: int | None = None) -> list[NodePower]:
        out = []
        for i, (revision, enforced) in enumerate(self.heard):
            self.trails[i] = follow(self.trails[i], len(self.ledger[i]) - 1, self.ledger[i][-1], revision)
            out.append(
                NodePower(
                    f"n{i}",
                    self.floors[i],
                    self.claims[i],
                    self.claims[i],
                    self.maxima[i],
                    self.ledger[i][-1],
                    None if i == silent else enforced,
                    last_enforced_w=enforced,
                    held_w=held_w(self.trails[i], self.maxima[i]),
                )
            )
        return out

    def decide(self, silent: int | None = None) -> int:
        result = split(self.budget, self.host, self.nodes(silent))
        for i, part in enumerate(result.nodes):
            if part.allot_w != self.ledger[i][-1]:
                self.ledger[i].append(part.allot_w)
        return result.cap_w

    def agent(self, i: int, newest: bool, part: int) -> None:
        """Sees the newest allotment or the next one, and enforces any sum that it allows."""
        self.seen[i] = len(self.ledger[i]) - 1 if newest else min(self.seen[i] + 1, len(self.ledger[i]) - 1)
        allotted = self.ledger[i][self.seen[i]]
        top = self.maxima[i] if allotted is None else max(allotted, self.floors[i])
        self.enforced[i] = self.floors[i] + (top - self.floors[i]) * part // 100

    def hear(self, i: int) -> None:
        self.heard[i] = (self.seen[i], self.enforced[i])

    @property
    def drawn(self) -> int:
        return sum(self.enforced) + self.host * len(self.enforced)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_order_of_writes_and_late_readings_goes_above_the_published_cap(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    floors = data.draw(st.lists(st.integers(50, 300), min_size=count, max_size=count))
    maxima = [floor + data.draw(st.integers(0, 900)) for floor in floors]
    world = World(data.draw(st.integers(0, sum(maxima) + 200)), data.draw(st.integers(0, 50)), floors, maxima)
    least = sum(floors) + world.host * count
    cap = world.decide()
    for _ in range(data.draw(st.integers(1, 40))):
        i, part = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 100))
        what = data.draw(st.sampled_from(["next", "newest", "hear", "decide", "silent", "claim", "budget"]))
        before = cap
        if what in ("next", "newest"):
            world.agent(i, what == "newest", part)
        elif what == "hear":
            world.hear(i)
        elif what == "claim":
            world.claims[i] = floors[i] + (maxima[i] - floors[i]) * part // 100
        elif what == "budget":
            world.budget = least + (sum(maxima) - sum(floors)) * part // 100
            cap = max(cap, world.budget)
        else:
            cap = world.decide(i if what == "silent" else None)
            assert cap <= max(before, world.budget, least), "a cap rose without a higher budget"
        assert world.drawn <= cap
        assert all(
            (entry is None or entry >= floor)
            for floor, led in zip(floors, world.ledger, strict=True)
            for entry in led
        )
    _settles(world, least)


def _settles(world: World, least: int) -> None:
    for _ in range(4):
        world.decide()
        for i in range(len(world.floors)):
            world.agent(i, True, 100)
            world.hear(i)
    result = split(world.budget, world.host, world.nodes())
    assert result.settled
    assert result.cap_w == max(world.budget, least)
    room = world.budget - least
    assert sum(p.allot_w for p in result.nodes) == sum(world.floors) + max(
        0, min(room, sum(world.maxima) - sum(world.floors))
    )
