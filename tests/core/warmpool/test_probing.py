"""When an engine is hot: by its own rounds of probes, by those of its like, and by the bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.probing import STEADY_MAX, ProbeLimits, Probes, Times, best_of, judge

LIMITS = ProbeLimits(factor=1.3, slack_s=0.01, rounds_max=4)
STEADY = Times(0.1, 0.5, 0.3)
COMPILING = Times(2.5, 0.5, 0.3)


def times(factor: float) -> Times:
    return Times(*(t * factor for t in STEADY))


def test_without_others_two_rounds_that_agree_make_an_engine_hot() -> None:
    assert not judge([], None, LIMITS).hot
    assert not judge([COMPILING], None, LIMITS).hot
    assert not judge([COMPILING, STEADY], None, LIMITS).hot
    assert judge([COMPILING, STEADY, times(1.2)], None, LIMITS) == (True, "Probed")


def test_with_the_steady_time_of_others_one_round_is_enough_and_a_slow_one_is_not() -> None:
    assert judge([times(1.25)], STEADY, LIMITS).hot
    assert not judge([times(1.5)], STEADY, LIMITS).hot
    assert not judge([times(1.5), times(1.5)], STEADY, LIMITS).hot


def test_one_slow_kind_of_probe_is_enough_not_to_be_hot() -> None:
    for kind in range(3):
        slow = list(STEADY)
        slow[kind] *= 2
        assert not judge([Times(*slow)], STEADY, LIMITS).hot


@given(
    st.lists(st.tuples(*[st.floats(0.001, 100)] * 3), min_size=4, max_size=8),
    st.none() | st.just(STEADY),
)
def test_after_the_last_round_it_serves_as_it_is(
    rounds: list[tuple[float, ...]], steady: Times | None
) -> None:
    assert judge([Times(*r) for r in rounds], steady, LIMITS).hot


def test_the_best_of_a_revision_on_a_product_is_known_to_the_next_engine_of_it() -> None:
    probes = Probes()
    for round_ in (COMPILING, STEADY, STEADY):
        last = probes.note("a", "r1", "H100", round_, LIMITS, 0.0)
    assert last.hot
    assert probes.note("b", "r1", "H100", times(1.1), LIMITS, 0.0).hot
    assert not probes.note("c", "r1", "L4", times(1.1), LIMITS, 0.0).hot
    assert not probes.note("d", "r2", "H100", times(1.1), LIMITS, 0.0).hot


def hot() -> Probes:
    probes = Probes()
    for _ in range(2):
        probes.note("a", "r", "H100", STEADY, LIMITS, 0.0)
    return probes


def test_an_engine_is_slow_again_after_two_slow_rounds_in_a_row() -> None:
    probes = hot()
    assert not probes.look_again("a", "r", "H100", COMPILING, LIMITS, 10.0)
    assert probes.due_at_s("a", 300.0, 5.0, 10.0) == 15.0
    assert not probes.look_again("a", "r", "H100", STEADY, LIMITS, 15.0)
    assert probes.due_at_s("a", 300.0, 5.0, 15.0) == 315.0
    assert not probes.look_again("a", "r", "H100", COMPILING, LIMITS, 315.0)
    assert probes.look_again("a", "r", "H100", COMPILING, LIMITS, 320.0)
    assert probes.slow("a")
    probes.restart("a")
    assert not probes.slow("a")


def test_one_that_stays_slower_is_taken_as_it_is_and_then_measured_by_itself() -> None:
    probes = hot()
    probes.restart("a")
    verdicts = [probes.note("a", "r", "H100", times(2), LIMITS, 0.0) for _ in range(LIMITS.rounds_max)]
    assert [v.reason for v in verdicts] == ["", "", "", "SlowerThanSteady"]
    assert not any(probes.look_again("a", "r", "H100", times(2), LIMITS, 0.0) for _ in range(4))


def test_the_bound_of_rounds_is_the_one_that_was_set() -> None:
    probes, limits = hot(), ProbeLimits(factor=1.3, slack_s=0.01, rounds_max=20)
    probes.restart("a")
    verdicts = [probes.note("a", "r", "H100", times(2 + n % 2), limits, 0.0).hot for n in range(20)]
    assert verdicts == [False] * 19 + [True]


def test_what_is_known_of_revisions_is_bounded_and_an_engine_that_is_gone_is_forgotten() -> None:
    probes = Probes()
    for n in range(STEADY_MAX + 5):
        for _ in range(2):
            probes.note("a", f"r{n}", "H100", STEADY, LIMITS, 0.0)
    assert probes.steady("r0", "H100") is None
    assert probes.steady(f"r{STEADY_MAX + 4}", "H100") == STEADY
    probes.look_again("a", "r9", "H100", COMPILING, LIMITS, 1.0)
    probes.forget("a")
    assert probes.due_at_s("a", 300.0, 5.0, 7.0) == 307.0


def test_the_best_is_of_each_kind() -> None:
    assert best_of([Times(1, 5, 3), Times(2, 4, 3)]) == Times(1, 4, 3)
