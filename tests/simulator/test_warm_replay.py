"""The warm replays: small worlds worked out by hand, readers of both traces, no look ahead, and the bounds."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.keepalive import ExpectedUse, Fixed, GreedyDual, Strategy
from ingle_simulator import functions, genai, warmmade
from ingle_simulator.functions import App
from ingle_simulator.lines import TraceError
from ingle_simulator.warm import MINUTES, SLOTS, kind
from ingle_simulator.warmbounds import belady_misses, fewest_cold_starts, least_wait_s
from ingle_simulator.warmminutes import replay as replay_minutes
from ingle_simulator.warmslots import Found, Request, Room, replay

LOAD_S = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 5.0}
COLD, AWAKE, STARTING, ASLEEP = Found.COLD, Found.AWAKE, Found.STARTING, Found.ASLEEP


def lru() -> Strategy:
    return Fixed(math.inf)


def test_one_slot_serves_models_in_turn_and_busy_ones_never_give_way() -> None:
    """a ready 10, busy to 15; b then loads to 35, busy to 36; a again to 46. The second for a joins its load."""
    requests = [Request(0, "a", 5), Request(1, "a", 1), Request(5, "b", 1), Request(16, "a", 1)]
    out = replay(lru(), requests, LOAD_S, Room(slots=1))
    assert out.found == [COLD, STARTING, COLD, COLD]
    assert out.waits_s == [10, 9, 30, 30]
    assert (out.percent(COLD), out.wait_s(50), out.wait_s(99)) == (75.0, 10, 30)


def test_with_a_place_for_sleepers_the_second_turn_is_a_wake() -> None:
    requests = [Request(0, "a", 5), Request(5, "b", 1), Request(16, "a", 1)]
    out = replay(lru(), requests, LOAD_S, Room(slots=1, sleepers=1, sleep_s=3, wake_s=2))
    assert out.found == [COLD, COLD, ASLEEP]
    assert out.waits_s == [10, 15 + 3 + 20 - 5, 39 + 3 + 2 - 16]


def test_more_sleepers_than_places_lose_the_one_that_is_worth_least() -> None:
    requests = [Request(100 * i, model, 0) for i, model in enumerate("abcab")]
    out = replay(lru(), requests, LOAD_S, Room(slots=1, sleepers=1))
    assert out.found == [COLD] * 5
    assert replay(lru(), requests, LOAD_S, Room(slots=1, sleepers=2)).found == [COLD] * 3 + [ASLEEP] * 2


def test_a_keep_alive_ends_and_gpu_seconds_are_those_in_which_a_slot_held_a_model() -> None:
    """Loads 10, kept to 60 after the use at 0; loads again at 100, until the trace ends."""
    requests = [Request(0, "a", 1), Request(100, "a", 1), Request(120, "d", 1)]
    out = replay(Fixed(60), requests, LOAD_S, Room(slots=math.inf))
    assert out.found == [COLD, COLD, COLD]
    assert out.gpu_s == 60 + 20


def test_a_model_with_a_period_is_made_ready_before_its_request() -> None:
    requests = [Request(1800.0 * i, "a", 1) for i in range(30)]
    out = replay(ExpectedUse(price=0.3), requests, LOAD_S, Room(slots=math.inf))
    assert out.found[-5:] == [AWAKE] * 5
    assert out.prewarms >= 5
    assert out.gpu_s < 0.5 * requests[-1].at_s


def test_a_start_that_costs_more_keeps_its_slot_when_starts_count_by_cost() -> None:
    requests = [Request(100 * i, model, 0) for i, model in enumerate("cadbc")]
    found = {
        by: replay(GreedyDual(), requests, LOAD_S, Room(2, by_cost=by)).found[-1] for by in (False, True)
    }
    assert found == {False: COLD, True: AWAKE}


def requests_of(steps: list[tuple[str, float, float]]) -> list[Request]:
    at_s, found = 0.0, []
    for model, after_s, exec_s in steps:
        at_s += after_s
        found.append(Request(at_s, model, exec_s))
    return found


STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 3000), st.floats(0, 60)), max_size=40)


@pytest.mark.parametrize("name", [*SLOTS, "priced"])
@settings(max_examples=25, deadline=None)
@given(steps=STEPS, cut=st.integers(0, 40), sleepers=st.integers(0, 2))
def test_what_a_request_finds_does_not_depend_on_later_ones(
    name: str, steps: list[tuple[str, float, float]], cut: int, sleepers: int
) -> None:
    make = SLOTS.get(name, lambda: ExpectedUse(0.2))
    requests, room = requests_of(steps), Room(slots=2, sleepers=sleepers)
    whole = replay(make(), requests, LOAD_S, room)
    part = replay(make(), requests[:cut], LOAD_S, room)
    assert part.found == whole.found[:cut]
    assert len(whole.waits_s) == len(requests)
    assert all(wait_s >= 0 for wait_s in whole.waits_s)


@pytest.mark.parametrize("name", SLOTS)
@settings(max_examples=25, deadline=None)
@given(models=st.text("abcd", max_size=40))
def test_no_strategy_begins_fewer_loads_than_belady(name: str, models: str) -> None:
    """Requests far enough apart that each load is over; an hour would end the fixed keep-alive, which only adds loads."""
    requests = [Request(60.0 * i, model, 0) for i, model in enumerate(models)]
    out = replay(SLOTS[name](), requests, LOAD_S, Room(slots=2))
    assert out.found.count(COLD) >= belady_misses(models, 2)


@pytest.mark.parametrize("percentile", [50, 80, 99])
@settings(max_examples=40)
@given(st.text("abcd", min_size=1, max_size=40))
def test_no_strategy_waits_less_than_the_bound(percentile: float, models: str) -> None:
    requests = [Request(100.0 * number, model, 1.0) for number, model in enumerate(models)]
    bound_s = least_wait_s(models, LOAD_S, 2, percentile)
    for strategy in (Fixed(math.inf), GreedyDual(), ExpectedUse()):
        assert replay(strategy, requests, LOAD_S, Room(2)).wait_s(percentile) >= bound_s


def test_the_bound_is_the_longest_load_that_too_many_wait_for() -> None:
    assert least_wait_s("cacbcacb", LOAD_S, 1, 99) == 30  # c once, and that is one in eight
    assert least_wait_s("cacbcacb", LOAD_S, 1, 80) == 20  # one may wait for c, not for b as well
    assert least_wait_s("aaaa", LOAD_S, 1, 50) == 0


def test_belady_gives_up_the_one_used_furthest_ahead() -> None:
    assert belady_misses("abcab", 2) == 4
    assert belady_misses("abcabc", 3) == 3


def test_minutes_count_containers_beyond_the_warm_ones_and_the_room_of_the_larger() -> None:
    """Kept for 2 min: needed 2 at once, one again after 2, one after 4 more; the second container never again."""
    app = App("f", 0.5, (2, 0, 1, 0, 0, 0, 1))
    out = replay_minutes(Fixed(121), [app])
    assert out.cold == [2, 0, 0, 0, 0, 0, 1]
    assert out.gb_min == [1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.5]
    assert out.total(since=3) == (1, 1.5)


def test_a_prewarm_is_counted_and_takes_the_room_it_is_charged() -> None:
    app = App("f", 0.5, tuple(int(minute % 20 == 0) for minute in range(400)))
    free, charged = (replay_minutes(ExpectedUse(0.3), [app], prewarm_min=minutes) for minutes in (0.0, 2.0))
    assert free.cold == charged.cold
    assert sum(free.prewarms[-100:]) == 5
    assert sum(free.cold[-100:]) == 0
    assert charged.total()[1] == pytest.approx(free.total()[1] + 2 * 0.5 * sum(free.prewarms))


def test_fewest_cold_starts_keeps_through_the_cheapest_gaps() -> None:
    app = App("f", 1.0, (1, 0, 1, 0, 0, 1))
    assert [fewest_cold_starts([app], room) for room in (3.0, 4.0, 6.0)] == [3, 2, 1]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), cut=st.integers(1, 120), workload=st.sampled_from(sorted(warmmade.WORKLOADS)))
def test_minutes_do_not_depend_on_later_ones(seed: int, cut: int, workload: str) -> None:
    apps = warmmade.apps(workload, 3, seed, 120)
    parts = [App(app.name, app.size_gb, app.needed[:cut]) for app in apps]
    for make in MINUTES.values():
        whole, part = replay_minutes(make(), apps, 0.4), replay_minutes(make(), parts, 0.4)
        assert (part.cold, part.gb_min) == (whole.cold[:cut], whole.gb_min[:cut])


def test_a_budget_holds_room_near_it() -> None:
    apps = warmmade.apps("steady", 12, 1, 720)
    rich, poor = (replay_minutes(ExpectedUse(0.3), apps, gb).total(360) for gb in (2.4, 1.2))
    assert rich[0] < poor[0]
    assert 0.8 < poor[1] / (360 * 1.2) < 1.2


def test_made_workloads_are_what_they_are_called() -> None:
    cron, shot = (warmmade.apps(name, 4, 1) for name in ("cron", "one_shot"))
    assert all(sum(app.needed) in (24, 48, 96) for app in cron)
    assert all(1 <= sum(app.needed) <= 3 for app in shot)
    assert warmmade.apps("steady", 2, 1) == warmmade.apps("steady", 2, 1) != warmmade.apps("steady", 2, 2)


def zipped(path: Path, *rows: str) -> None:
    with gzip.open(path, "wt") as file:
        file.write("\n".join([*rows, ""]))


def models_trace(folder: Path, *rows: str) -> Path:
    zipped(folder / genai.REQUESTS, "gmt_create,exec_time_seconds,checkpoint_model_version_id", *rows)
    zipped(folder / genai.LOADS, "timestamp_anon,value", "1,3000", "2,1000", "3,2000")
    return folder


def test_requests_and_load_times_of_the_model_trace_are_read(tmp_path: Path) -> None:
    folder = models_trace(tmp_path, "2024-11-15 16:58:00,30,m1", "2024-11-15 16:57:50,32.5,")
    assert kind(folder) == "genai"
    assert genai.read_requests(folder) == [Request(0.0, "", 32.5), Request(10.0, "m1", 30.0)]
    assert genai.read_loads_s(folder) == [1.0, 2.0, 3.0]
    dealt = genai.load_times("xyzx", [1.0, 2.0, 3.0], seed=4)
    assert sorted(dealt.values()) == [1.0, 2.0, 3.0]
    assert dealt == genai.load_times("zyx", [1.0, 2.0, 3.0], seed=4)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("yesterday,30,m1", "line 2, gmt_create: must be a time like"),
        ("2024-11-15 16:57:50+01:00,30,m1", "line 2, gmt_create: must be a time like"),
        (
            "2024-11-15 16:57:50,nan,m1",
            "line 2, exec_time_seconds: must be a number of at least 0, not `nan`",
        ),
        ("2024-11-15 16:57:50,-1,m1", "line 2, exec_time_seconds"),
    ],
)
def test_a_broken_line_of_the_model_trace_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        genai.read_requests(models_trace(tmp_path, row))


def test_the_function_trace_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    head = "app,avg_mem_mb," + ",".join(f"m{i}" for i in range(functions.MINUTES))
    zeros = ",".join("0" * (functions.MINUTES - 2))
    with pytest.raises(TraceError, match="neither"):
        kind(tmp_path)
    zipped(tmp_path / functions.CONTAINERS, head, f"f,512,3,1,{zeros}")
    assert kind(tmp_path) == "functions"
    (app,) = functions.read_apps(tmp_path)
    assert (app.name, app.size_gb, app.needed[:3]) == ("f", 0.5, (3, 1, 0))
    for cells, said in (
        ("0,1,1", "avg_mem_mb: must be above 0"),
        ("9,x,1", "m0"),
        ("9,9999,1", "more than 1000"),
    ):
        zipped(tmp_path / functions.CONTAINERS, head, f"f,{cells},{zeros}")
        with pytest.raises(TraceError, match=said):
            functions.read_apps(tmp_path)
    zipped(tmp_path / functions.CONTAINERS, head)
    with pytest.raises(TraceError, match="no app"):
        functions.read_apps(tmp_path)
