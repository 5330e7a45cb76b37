"""An allotment over the GPUs of a node, and the order in which limits are written."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.power import CapState, GpuPower, caps, step


def gpu(uuid: str, limit: int = 400, claimed: int = 0, **facts: Any) -> GpuPower:
    values: dict[str, Any] = {"min_w": 100, "max_w": 400, "enforced_w": limit, "own_w": 400, **facts}
    return GpuPower(uuid, limit_w=limit, claimed_w=claimed, **values)


def test_a_limit_is_its_claims_within_the_range() -> None:
    result = caps([gpu("a", claimed=250), gpu("b"), gpu("c", claimed=900)], 2000)
    assert result.limits_w == {"a": 250, "b": 100, "c": 400}


def test_claims_above_the_allotment_share_what_is_left_above_the_minima() -> None:
    result = caps([gpu("a", claimed=400), gpu("b", claimed=400), gpu("c", claimed=150)], 750)
    assert result.limits_w == {"a": 300, "b": 300, "c": 150}
    assert [reason.subject for reason in result.reasons] == ["a", "b"]


def test_without_an_allotment_a_gpu_gets_back_the_limit_it_had() -> None:
    assert caps([gpu("a", 200, own_w=350), gpu("b", 200, own_w=None)], None).limits_w == {"a": 350, "b": 200}


def test_a_lost_gpu_is_charged_its_maximum() -> None:
    result = caps([gpu("a", claimed=400), gpu("b", lost=True)], 700)
    assert result.limits_w == {"a": 300}
    assert result.total_w == 700


def test_an_allotment_below_the_minima_is_not_feasible() -> None:
    result = caps([gpu("a", claimed=400), gpu("b")], 150)
    assert (result.limits_w, result.feasible) == ({"a": 100, "b": 100}, False)
    assert result.reasons[0].code == "BelowMinimumLimits"


def test_lowers_are_read_back_before_anything_is_raised() -> None:
    first = step(CapState(), [gpu("a", 400), gpu("b", 100, claimed=400)], 500)
    assert [(w.uuid, w.limit_w) for w in first.writes] == [("a", 100)]
    late = step(first.state, [gpu("a", 100, enforced_w=400), gpu("b", 100, claimed=400)], 500)
    assert late.writes == ()
    then = step(late.state, [gpu("a", 100), gpu("b", 100, claimed=400)], 500)
    assert [(w.uuid, w.limit_w) for w in then.writes] == [("b", 400)]
    assert not then.in_force
    assert step(then.state, [gpu("a", 100), gpu("b", 400, claimed=400)], 500).in_force


def test_a_gpu_that_never_comes_down_is_named_and_others_get_what_is_left() -> None:
    state = CapState()
    for _ in range(2):
        result = step(state, [gpu("a", 100, enforced_w=300), gpu("b", 100, claimed=400)], 500)
        state = result.state
    assert [(r.code, r.subject) for r in result.reasons] == [("NotEnforced", "a")]
    assert [(w.uuid, w.limit_w) for w in result.writes] == [("b", 200)]
    assert not result.in_force


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_limits_in_motion_stay_within_old_charge_or_allotment(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    limits = [data.draw(st.integers(100, 400)) for _ in range(count)]
    claims = [data.draw(st.integers(0, 500)) for _ in range(count)]
    allotted = data.draw(st.integers(100 * count, 400 * count))
    enforced, state, ceiling = list(limits), CapState(), max(sum(limits), allotted)
    for _ in range(3 * count + 6):
        gpus = [gpu(f"g{i}", limits[i], claims[i], enforced_w=enforced[i]) for i in range(count)]
        result = step(state, gpus, allotted)
        state = result.state
        for write in result.writes:
            limits[int(write.uuid[1:])] = write.limit_w
        late = data.draw(st.integers(-1, count - 1))
        enforced = [enforced[i] if i == late and enforced[i] < limits[i] else limits[i] for i in range(count)]
        assert sum(enforced) <= ceiling
        ceiling = min(ceiling, max(sum(enforced), allotted))
    enforced = list(limits)
    final = step(state, [gpu(f"g{i}", limits[i], claims[i]) for i in range(count)], allotted)
    assert final.in_force
    assert final.charged_w <= allotted
