"""Wake conflicts: models that are wanted at the same hours do not share a GPU that cannot hold them awake."""

from __future__ import annotations

from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, Resident
from ingle_core.placement import Ask, AskMemory, Context, rank
from ingle_core.placement.conflict import Conflicts
from ingle_core.placement.loads import HOURS, LEVELS, STEPS, Profile
from ingle_core.placement.view import View

DAY = (100,) * 12 + (0,) * 12
NIGHT = (0,) * 12 + (100,) * 12
RARE = (1,) * HOURS


def profile(percent: tuple[int, ...], awake_mib: int = 50_000) -> Profile:
    return Profile(awake_mib, 2_000, percent)


def gpu(uuid: str, *pools: str, headroom_mib: int | None = None) -> GpuFacts:
    """A GPU of 80 000 MiB where these pools sleep."""
    free = 80_000 - 2_000 * len(pools) if headroom_mib is None else headroom_mib
    return GpuFacts(uuid, "H100", 80_000, free, residents=tuple(Resident(p, 2_000, True) for p in pools))


def columns(*gpus: GpuFacts) -> Columns:
    made = Columns(nodes=1, gpus=1, zones=1)
    for one in gpus:
        made.update(f"node-{one.uuid}", GpuNodeFacts((one,)))
    return made


def conflicts(**profiles: Profile) -> Conflicts:
    made = Conflicts()
    for pool, one in profiles.items():
        made.learn(f"d/{pool}", one)
    return made


def chosen(made: Columns, known: Conflicts | None, pool: str = "d/new", awake_mib: int = 50_000) -> str:
    ask = Ask(AskMemory(awake_mib, 2_000), pool=pool)
    return rank(ask, made, now_s=0.0, context=Context(conflicts=known)).gpus[0]


def chances(made: Columns, known: Conflicts, awake_mib: int = 50_000) -> list[float]:
    view = View(Ask(AskMemory(awake_mib), pool="d/new"), made, (), now_s=0.0, silent_after_s=90.0)
    return [float(value) for value in known.chances(view)[0]]


def test_of_two_gpus_the_one_whose_sleeper_is_wanted_at_other_hours_is_chosen_though_it_is_emptier() -> None:
    made = columns(gpu("full", "d/day", headroom_mib=60_000), gpu("other", "d/night"))
    known = conflicts(new=profile(DAY), day=profile(DAY), night=profile(NIGHT))
    assert chosen(made, None) == "full"
    assert chosen(made, known) == "other"


def test_where_all_fit_awake_together_the_fullest_gpu_is_chosen_as_without_profiles() -> None:
    made = columns(gpu("full", "d/day", headroom_mib=60_000), gpu("other", "d/night"))
    small = conflicts(new=profile(DAY, 30_000), day=profile(DAY, 30_000), night=profile(NIGHT, 30_000))
    assert chosen(made, small, awake_mib=30_000) == "full"


def test_a_pool_without_a_profile_is_placed_as_if_there_were_none() -> None:
    made = columns(gpu("full", "d/day", headroom_mib=60_000), gpu("other"))
    assert chosen(made, conflicts(day=profile(DAY))) == "full"


def test_of_two_rare_conflicts_the_rarer_one_is_chosen() -> None:
    made = columns(gpu("full", "d/day", headroom_mib=60_000), gpu("other", "d/rare"))
    known = conflicts(new=profile((20,) * HOURS), day=profile(DAY), rare=profile(RARE))
    assert chances(made, known) == pytest.approx([0.1, 0.002], abs=0.001)
    assert chosen(made, known) == "other"


def test_links_outweigh_a_conflict() -> None:
    residents = (Resident("d/day", 2_000, True),)
    pair = [
        GpuFacts(u, "H100", 80_000, 70_000, nvlink_peers=("a", "b"), residents=residents) for u in ("a", "b")
    ]
    made = Columns()
    made.update("linked", GpuNodeFacts(tuple(pair)))
    made.update("apart", GpuNodeFacts((gpu("c"), gpu("d"))))
    ask = Ask(AskMemory(50_000), pool="d/new", gpus=2)
    known = Context(conflicts=conflicts(new=profile(DAY), day=profile(DAY)))
    assert rank(ask, made, now_s=0.0, context=known).node == "linked"


def test_a_resident_that_nothing_is_known_of_holds_what_it_claims() -> None:
    made = columns(
        GpuFacts("a", "H100", 80_000, 50_000, residents=(Resident("d/x", 20_000), Resident("d/rare", 10_000)))
    )
    known = conflicts(new=profile(DAY), rare=profile(RARE, 12_000))
    assert chances(made, known, awake_mib=50_000) == pytest.approx([0.005])


def test_what_residents_and_profiles_became_counts_in_the_next_ranking() -> None:
    made = columns(gpu("a", "d/day"), gpu("b"))
    known = conflicts(new=profile(DAY), day=profile(DAY))
    assert chances(made, known) == [0.5, 0.0]
    known.learn("d/day", profile(NIGHT))
    assert chances(made, known) == [0.0, 0.0]
    made.update("node-b", GpuNodeFacts((gpu("b", "d/new"),)))
    assert chances(made, known) == [0.0, 0.5]
    made.remove("node-b")
    made.update("node-c", GpuNodeFacts((gpu("c", "d/day"),)))
    known.learn("d/day", profile(DAY))
    assert chances(made, known) == [0.5, 0.5]
    known.learn("d/day", None)
    assert chances(made, known) == [0.0, 0.0]


def test_new_profiles_are_taken_over_a_few_rows_a_call_and_in_the_end_all() -> None:
    made = columns(*(gpu(str(n), "d/day") for n in range(100)))
    known = conflicts(new=profile(DAY), day=profile(DAY))
    assert sum(chances(made, known)) == 50.0
    known.learn("d/day", profile(NIGHT))
    left = [sum(chances(made, known)) for _ in range(5)]
    assert left == [34.0, 18.0, 2.0, 0.0, 0.0]


def test_a_heartbeat_does_not_hide_a_new_profile() -> None:
    made = columns(*(gpu(str(n), "d/day") for n in range(50)))
    known = conflicts(new=profile(DAY), day=profile(DAY))
    assert sum(chances(made, known)) == 25.0
    known.learn("d/day", profile(NIGHT))
    for n in range(50):
        made.update(f"node-{n}", made.facts[f"node-{n}"])
    assert [sum(chances(made, known)) for _ in range(2)] == [9.0, 0.0]


def test_scores_that_are_kept_are_those_computed_anew() -> None:
    made = columns(*(gpu(str(n), "d/day") for n in range(5)), gpu("x"))
    known = conflicts(new=profile(DAY), day=profile(DAY))

    def scores(by: Conflicts) -> list[float]:
        view = View(Ask(AskMemory(50_000), pool="d/new"), made, (), now_s=0.0, silent_after_s=90.0)
        return [float(value) for value in by.scores(view)[0]]

    assert scores(known) == scores(known.apart())
    known.learn("d/day", profile(RARE))
    assert scores(known) == scores(known.apart())
    made.remove("node-2")
    assert scores(known) == scores(known.apart())
    made.update("node-y", GpuNodeFacts((gpu("y", "d/day", "d/new"),)))
    assert scores(known) == scores(known.apart())


def test_work_done_ahead_is_done_in_parts_and_leaves_nothing_to_the_call() -> None:
    made = columns(*(gpu(str(n), "d/day") for n in range(10)))
    known = conflicts(new=profile(DAY), day=profile(DAY))
    assert [known.take_over(made, 4) for _ in range(4)] == [6, 2, 0, 0]
    known.learn("d/day", profile(NIGHT))
    assert [known.take_over(made, 6) for _ in range(2)] == [4, 0]
    assert sum(chances(made, known)) == 0.0


def test_profiles_serve_other_columns_too() -> None:
    known = conflicts(new=profile(DAY), day=profile(DAY))
    here = columns(gpu("a", "d/day"))
    assert chances(here, known) == [0.5]
    assert chances(columns(gpu("b"), gpu("c", "d/day")), known.apart()) == [0.0, 0.5]
    assert chances(here, known) == [0.5]


@pytest.mark.parametrize(
    ("awake_mib", "asleep_mib", "percent", "wrong"),
    [(1, 0, (1,) * 23, "percent"), (1, 0, (101,) * 24, "percent"), (1, 2, (0,) * 24, "asleep_mib")],
)
def test_a_profile_that_cannot_be_is_refused(
    awake_mib: int, asleep_mib: int, percent: tuple[int, ...], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        Profile(awake_mib, asleep_mib, percent)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, 100)), max_size=5), st.integers(1, 31))
def test_the_chance_equals_that_of_all_cases_counted_one_by_one(
    residents: list[tuple[int, int]], awake_levels: int
) -> None:
    unit = 80_000 // LEVELS
    known = conflicts(new=Profile(1, 0, (100,) * HOURS))
    for n, (size, percent) in enumerate(residents):
        known.learn(f"d/{n}", Profile(size * unit, 0, (percent,) * HOURS))
    made = columns(gpu("a", *(f"d/{n}" for n in range(len(residents))), headroom_mib=80_000))
    expected = 0.0
    for case in product((0, 1), repeat=len(residents)):
        chance = np.prod([p / 100 if on else 1 - p / 100 for on, (_, p) in zip(case, residents, strict=True)])
        load = sum(size for on, (size, _) in zip(case, residents, strict=True) if on)
        expected += float(chance) if load + awake_levels > LEVELS else 0.0
    assert chances(made, known, awake_levels * unit) == pytest.approx([expected], abs=1 / STEPS)
