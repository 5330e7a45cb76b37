"""Which GPUs belong together: exact for every shape, not only for the usual ones."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.facts import groups as grouping
from ingle_core.facts.groups import Shape, Tables, bus_of, candidates, largest_sets, shape_of
from ingle_core.placement import Ask, AskMemory, Ranking, Reason, rank

FREE_MIB, FULL_MIB = 80_000, 0
Pairs = frozenset[tuple[int, int]]

ALL_LINKED: Pairs = frozenset(combinations(range(8), 2))
PAIRS: Pairs = frozenset({(0, 1), (2, 3)})
# Eight GPUs, each with four links: two squares with diagonals, joined by edges (as in a DGX-1).
TWO_MESHES: Pairs = frozenset(
    {*combinations(range(4), 2), *combinations(range(4, 8), 2), *((i, i + 4) for i in range(4))}
)


def node(
    zones: tuple[int, ...], linked: Pairs, free: set[int] | None = None, pcie: tuple[str, ...] = ()
) -> GpuNodeFacts:
    count = len(zones)
    return GpuNodeFacts(
        tuple(
            GpuFacts(
                uuid=f"g{i}",
                product="P",
                allocatable_mib=FREE_MIB,
                headroom_mib=FREE_MIB if free is None or i in free else FULL_MIB,
                numa=zones[i],
                nvlink_peers=tuple(f"g{j}" for j in range(count) if (min(i, j), max(i, j)) in linked),
                pcie=pcie[i] if pcie else "",
            )
            for i in range(count)
        )
    )


def decide(facts: GpuNodeFacts, gpus: int, **levels: Any) -> Ranking:
    columns = Columns(nodes=1, gpus=1)
    columns.update("n", facts)
    return rank(Ask(AskMemory(40_000), gpus=gpus, **levels), columns, now_s=0.0)


def chosen(facts: GpuNodeFacts, gpus: int, **levels: Any) -> tuple[int, ...]:
    return tuple(int(uuid[1:]) for uuid in decide(facts, gpus, **levels).gpus)


@pytest.mark.parametrize(
    ("zones", "linked", "free", "gpus", "expected"),
    [
        # The first two free ones are not on one zone: GPU i is not on zone i/4.
        ((3, 3, 1, 1, 7, 7, 5, 5), ALL_LINKED, {1, 2, 3, 6}, 2, (2, 3)),
        ((0, 1, 0, 1, 0, 1, 0, 1), ALL_LINKED, set(range(8)), 4, (0, 2, 4, 6)),
        ((0, 1, 0, 1, 0, 1, 0, 1), ALL_LINKED, {0, 1, 3, 5, 7}, 4, (1, 3, 5, 7)),
        ((0, 0, 0, 0, 0, 0, 1, 1), frozenset(), {0, 6, 7}, 2, (6, 7)),
        ((0, 0, 1, 1), PAIRS, {1, 2, 3}, 2, (2, 3)),
        ((0, 0, 0, 0, 1, 1, 1, 1), TWO_MESHES, {0, 4, 5, 6, 7}, 4, (4, 5, 6, 7)),
        ((0, 0, 0, 0, 1, 1, 1, 1), TWO_MESHES, {0, 5, 6, 4}, 2, (4, 5)),
        ((0, 0, 0, 0, 1, 1, 1, 1), TWO_MESHES, {0, 4, 5, 3}, 2, (0, 3)),
        # A greedy group in the order of GPUs would take 0 and 1 together and then find no three.
        ((0, 0, 0, 0), frozenset({(0, 1), (1, 2), (2, 3), (1, 3)}), {0, 1, 2, 3}, 3, (1, 2, 3)),
    ],
)
def test_the_nearest_set_among_the_free_gpus_is_taken(
    zones: tuple[int, ...], linked: Pairs, free: set[int], gpus: int, expected: tuple[int, ...]
) -> None:
    assert chosen(node(zones, linked, free), gpus) == expected


def test_links_count_before_zones_and_only_what_is_asked_counts() -> None:
    across = node((0, 1, 0), frozenset({(0, 1)}))  # the linked pair is on two zones
    assert chosen(across, 2) == (0, 1)
    assert chosen(across, 2, nvlink="None") == (0, 2)
    assert chosen(across, 2, numa="Required") == (0, 2)
    assert decide(across, 2, numa="Required", nvlink="Required").reason("n") == Reason.NVLINK_SPLIT


def test_where_no_set_is_linked_the_one_with_fewest_gaps_is_taken() -> None:
    assert chosen(node((0,) * 5, frozenset({(0, 4), (1, 2), (2, 3)})), 3) == (1, 2, 3)
    assert chosen(node((0,) * 8, TWO_MESHES), 6) == (0, 1, 2, 3, 4, 5)


def test_without_links_gpus_below_one_switch_are_taken_by_their_bus() -> None:
    buses = ("0000:01:00.0", "0000:41:00.0", "0000:c1:00.0", "0000:42:00.0")
    assert chosen(node((0,) * 4, frozenset(), pcie=buses), 2) == (1, 3)
    assert chosen(node((0,) * 4, PAIRS, pcie=buses), 2) == (0, 1)
    assert bus_of("00000001:18:00.0") == 0x118
    assert bus_of("") == bus_of("x:y") == -1


def test_a_zone_that_is_not_known_is_no_zone() -> None:
    facts = node((-1, -1, 0, 0), frozenset())
    assert chosen(facts, 2) == (2, 3)
    assert decide(node((-1, -1), frozenset()), 2, numa="Required").reason("n") == Reason.NUMA_SPLIT


def test_a_link_that_one_side_reports_does_not_count() -> None:
    assert shape_of(["a", "b"], [0, 0], [["b"], []], ["", ""]).links == (0, 0)
    assert shape_of(["a", "b"], [0, 0], [["b", "a", "gone"], ["a"]], ["", ""]).links == (2, 1)


def test_seventeen_gpus_are_no_error_and_single_ones_among_them_are_used() -> None:
    facts = node((0,) * 17, frozenset(), free={16})
    assert chosen(facts, 1) == (16,)
    assert decide(facts, 17).node is None


def test_all_sets_of_sixteen_gpus_are_looked_at_once_a_shape() -> None:
    shape = Shape((0,) * 8 + (1,) * 8, (0,) * 16, (-1,) * 16)
    assert len(candidates(shape, 8).places) == 12_870
    assert candidates(Shape(*map(tuple, (shape.zones, shape.links, shape.buses))), 8) is candidates(shape, 8)


def test_shapes_that_no_node_has_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "LEAST_LIMIT", 600)
    columns = Columns()
    columns.update("stays", node((0, 0, 1, 1), PAIRS))
    for n, linked in enumerate(combinations(combinations(range(6), 2), 2)):
        columns.update("flaps", node((0,) * 6, frozenset(linked)))
        assert len(columns.tables.largest["link"]) <= 600 + 2**6, n
    asked = Ask(AskMemory(1), gpus=2, numa="Required", nvlink="Required")
    assert rank(asked, columns, ["stays"], now_s=0.0).node == "stays"
    assert rank(asked, columns, ["flaps"], now_s=0.0).gpus == ("g3", "g5")
    assert isinstance(columns.tables, Tables)


@st.composite
def nodes(draw: st.DrawFn) -> GpuNodeFacts:
    count = draw(st.integers(1, 7))
    zones = draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count))
    linked = draw(st.frozensets(st.sampled_from([*combinations(range(count), 2)]))) if count > 1 else ()
    return node(tuple(zones), frozenset(linked), draw(st.sets(st.integers(0, count - 1))))


def linked_pairs(facts: GpuNodeFacts) -> Pairs:
    return frozenset(
        (i, j)
        for i, j in combinations(range(len(facts.gpus)), 2)
        if f"g{j}" in facts.gpus[i].nvlink_peers and f"g{i}" in facts.gpus[j].nvlink_peers
    )


LEVELS = st.sampled_from(["Required", "Preferred", "None"])


@settings(max_examples=300, deadline=None)
@given(nodes(), st.integers(1, 5), LEVELS, LEVELS)
def test_a_node_passes_if_and_only_if_a_set_exists_and_none_nearer_is_left(
    facts: GpuNodeFacts, gpus: int, numa: str, nvlink: str
) -> None:
    links = linked_pairs(facts)

    def gaps(places: tuple[int, ...]) -> tuple[int, int]:
        numbers = [facts.gpus[i].numa if facts.gpus[i].numa >= 0 else 100 + i for i in places]
        return sum(pair not in links for pair in combinations(places, 2)), len(set(numbers))

    free = [i for i, gpu in enumerate(facts.gpus) if gpu.headroom_mib >= 40_000]
    allowed = [
        places
        for places in combinations(free, gpus)
        if (nvlink != "Required" or gaps(places)[0] == 0) and (numa != "Required" or gaps(places)[1] == 1)
    ]
    found = chosen(facts, gpus, numa=numa, nvlink=nvlink)
    assert bool(found) == bool(allowed)
    if found and gpus > 1:
        use = [nvlink != "None", numa != "None"]
        assert found in allowed
        least = min([g for g, used in zip(gaps(places), use, strict=True) if used] for places in allowed)
        assert [g for g, used in zip(gaps(found), use, strict=True) if used] == least


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 63), min_size=6, max_size=6))
def test_the_table_of_largest_sets_is_what_trying_all_gives(told: list[int]) -> None:
    near = tuple(
        sum(1 << j for j in range(6) if j != i and told[i] >> j & 1 and told[j] >> i & 1) for i in range(6)
    )
    table = largest_sets(near)
    for mask in range(64):
        members = [i for i in range(6) if mask >> i & 1]
        sizes = [
            count
            for count in range(len(members) + 1)
            for some in combinations(members, count)
            if all(near[a] >> b & 1 for a, b in combinations(some, 2))
        ]
        assert table[mask] == max(sizes)
    assert table.dtype == np.int8
