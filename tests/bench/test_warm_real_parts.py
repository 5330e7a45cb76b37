"""Pure parts of the benchmark warm-real: loads, what is counted, the arithmetic of the dual-pod way, its rows.

The lab that they run on has tests of its own; e2e kills the same processes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.warmreal import ahead, faults, waits, zipf
from bench.warmreal.arrivals import dealt, read_mooncake, together
from bench.warmreal.dualpod import LAUNCHED, Dual, Placed, Replay, Rules
from bench.warmreal.enginelogs import Wakes, wakes_of
from bench.warmreal.load import Ask, Bursts, bursty, percentile
from bench.warmreal.moves import Moves
from bench.warmreal.pools import LONG_CONTEXT_TOKENS, long_names, names, pool, profile
from bench.warmreal.run import Seen
from bench.warmreal.waits import Told
from pydantic import ValidationError

from ingle_kit.objects import InferencePoolSpec
from ingle_lab.demo.clients import Answer
from ingle_lab.demo.trace import Arrival

GPU_MIB = 81_920 - 1_024


def test_the_same_seed_gives_the_same_load_in_order_and_another_seed_another() -> None:
    pools = names(40)
    asks = bursty(pools, 150, 6, Bursts())
    assert asks == bursty(pools, 150, 6, Bursts())
    assert asks != bursty(pools, 150, 7, Bursts())
    assert [a.at_s for a in asks] == sorted(a.at_s for a in asks)
    assert all(0 <= a.at_s < 150 for a in asks)


def test_popular_models_are_asked_more_and_requests_come_in_bursts_of_the_mean_that_was_asked_for() -> None:
    pools = names(40)
    asks = bursty(pools, 8_000, 1, Bursts())
    by_pool = Counter(ask.pool for ask in asks)
    assert by_pool["m00"] > by_pool["m04"] > by_pool["m39"] > 0
    assert len(asks) == pytest.approx(8_000 / 3 * 6, rel=0.15)


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (75, 3.0), (95, 4.0), (100, 4.0)])
def test_a_percentile_is_a_value_that_was_seen(percent: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == value
    assert percentile([], percent) == 0.0


@pytest.mark.parametrize("name", [*names(3), *long_names(1)])
def test_the_pools_are_valid_and_their_engines_fit_what_they_claim(name: str) -> None:
    made = pool(name, asleep=1, idle_s=5, hold_s=60)
    (variant,) = made["spec"]["variants"]
    times, memory = profile(name), variant["memoryMiB"]
    (small,) = pool(name, asleep=1, idle_s=5, hold_s=60, kv_mib=18_000)["spec"]["variants"]
    assert 2 * small["memoryMiB"]["awake"] + 2 * memory["asleep"] < GPU_MIB
    InferencePoolSpec.model_validate(made["spec"])
    assert times.weights_mib + times.residue_mib + memory["kvCache"] <= memory["awake"]
    assert times.residue_mib <= memory["asleep"]
    assert variant["contextTokens"] == (LONG_CONTEXT_TOKENS if name.startswith("long") else 16384)
    assert times.model != "default"
    with pytest.raises(ValidationError):
        InferencePoolSpec.model_validate(made["spec"] | {"replicas": {"min": 2, "max": 1}})


def test_a_mooncake_trace_is_read_and_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl.gz"
    rows = [{"timestamp": 1500, "input_length": 20, "output_length": 3, "hash_ids": [1]}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert read_mooncake(path) == [Arrival(1.5, 20, 3)]
    path.write_bytes(gzip.compress(b'{"timestamp": 1}'))
    with pytest.raises(ValueError, match=r"trace.jsonl.gz, line 1: 'input_length'"):
        read_mooncake(path)


def test_what_does_not_fit_the_context_is_left_out_and_loads_mix_by_time() -> None:
    arrivals = [Arrival(0.0, 10, 0), Arrival(1.0, 10, 10), Arrival(2.0, 10, 91)]
    kept = dealt(arrivals, ["m00"], 60.0, 1, context_tokens=100)
    assert kept == [Ask(0.0, "m00", 10, 1), Ask(1.0, "m00", 10, 10)]
    assert together(kept, [Ask(0.5, "m01", 1, 1)])[1].pool == "m01"


def ledger(**states: str) -> dict[str, Any]:
    """A node's ledger: `uid=pool:state`."""
    pods = [
        {"uid": uid, "pool": told.split(":")[0], "state": told.split(":")[1]} for uid, told in states.items()
    ]
    return {"spec": {"pods": pods}}


def fed(*ledgers: dict[str, Any]) -> Moves:
    moves = Moves(clock=lambda: 7.0)
    for one in ledgers:
        moves.ledger(("", "gpu-1"), None, one)
    return moves


def test_wakes_and_starts_are_counted_once_each() -> None:
    moves = fed(
        ledger(), ledger(u="p:Starting"), ledger(u="p:Awake"), ledger(u="p:Awake"), ledger(u="p:Sleeping")
    )
    moves.ledger(("", "gpu-1"), None, ledger(u="p:Asleep"))
    moves.ledger(("", "gpu-1"), None, ledger(u="p:Waking"))
    assert (moves.counts["Starting"], moves.counts["Waking"], moves.double) == (1, 1, [])
    assert moves.states() == {"Waking": 1}
    assert (moves.brought_by("p", 8.0), moves.brought_by("p", 6.0)) == ("Waking", "")
    moves.ledger(("", "gpu-1"), None, ledger(u="p:Awake"))
    assert (moves.state_at("p", 8.0), moves.brought_by("p", 8.0)) == ("Awake", "Waking")
    moves.ledger(("", "gpu-1"), None, None)
    assert not moves.states()


@pytest.mark.parametrize("other", ["Awake", "Waking", "Starting"])
def test_a_wake_beside_an_engine_that_serves_is_double(other: str) -> None:
    moves = fed(ledger(u="p:Asleep", v=f"p:{other}"), ledger(u="p:Waking", v=f"p:{other}"))
    assert len(moves.double) == 1


@pytest.mark.parametrize("other", ["p:Asleep", "p:Sleeping", "q:Awake"])
def test_a_wake_beside_a_sleeper_or_another_pool_is_not_double(other: str) -> None:
    assert fed(ledger(u="p:Asleep", v=other), ledger(u="p:Waking", v=other)).double == []


def test_the_logs_of_engines_tell_their_wakes_and_the_needless_ones(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    text = "INFO awake after 0.081 s\nWARNING already awake: weights, kv_cache\nINFO awake after 0.080 s\n"
    (tmp_path / "logs" / "chat_m00-1-0_engine.log").write_text(text)
    (tmp_path / "logs" / "chat_m01-1-0_other.log").write_text(text)
    assert wakes_of(tmp_path) == Wakes(2, 1)
    assert wakes_of(tmp_path).since(Wakes(1, 0)) == Wakes(1, 1)


class Scheduler:
    """Puts pods onto the nodes that it is told, one a call; `waiting` get what is released, in order."""

    def __init__(self, *nodes: str) -> None:
        self._nodes, self._waiting = list(nodes), list[str]()

    async def place(self, pool: str) -> Placed | None:
        node = self._nodes.pop(0) if self._nodes else ""
        if not node:
            self._waiting.append(pool)
        return (node, 0.5) if node else None

    async def release(self, pool: str, waiting: bool) -> tuple[str, Placed] | None:
        return (self._waiting.pop(0), ("gpu-1", 0.5)) if waiting else None


def replayed(scheduler: Scheduler, asks: list[Ask], sleepers: int = 1) -> Dual:
    replay = Replay(Rules("lowest", sleepers), 5.0, 1.0, scheduler.place, scheduler.release)
    return asyncio.run(replay.run(asks))


def test_dual_pods_are_hot_on_the_gpu_where_the_model_sleeps() -> None:
    dual = replayed(Scheduler("gpu-1", "gpu-1"), [Ask(1.0, "m00", 200, 100), Ask(1.5, "m00", 200, 100)])
    assert (dual.hot, dual.cold) == (1, 0)
    assert [s for _, s in dual.held] == pytest.approx(
        [0.5 + profile("m00").wake_l1_s, profile("m00").wake_l1_s]
    )


def test_dual_pods_load_the_model_on_any_other_gpu() -> None:
    dual = replayed(Scheduler("gpu-1", "gpu-2"), [Ask(1.0, "m00", 200, 100)])
    assert (dual.hot, dual.cold) == (0, 1)
    assert dual.held[0][1] == pytest.approx(0.5 + LAUNCHED * profile("m00").load_s)


@pytest.mark.parametrize(("sleepers", "hot"), [(1, 0), (2, 1)])
def test_the_least_recently_used_sleeper_of_a_gpu_goes(sleepers: int, hot: int) -> None:
    """m00 and m01 have both slept on the first GPU of gpu-1, m01 later; then m00 is asked."""
    asks = [Ask(10.0, "m01", 200, 100), Ask(200.0, "m00", 200, 100)]
    scheduler = Scheduler("gpu-1", "gpu-2", "gpu-1", "gpu-1")
    assert replayed(scheduler, asks, sleepers).hot == hot


def test_a_dual_pod_that_fits_nowhere_gets_the_room_of_the_first_that_ends() -> None:
    dual = replayed(
        Scheduler("gpu-1", "gpu-2", "gpu-1"), [Ask(1.0, "m00", 200, 100), Ask(2.0, "m01", 200, 100)]
    )
    assert dual.waited == 1
    assert len(dual.held) == 2
    assert dual.held[1][1] > dual.held[0][1]


SLEPT = [Told(0, "u", "p", "Awake", frozenset({"g0"})), Told(2, "u", "p", "Sleeping", frozenset({"g0"}))]
BESIDE = Told(0, "v", "q", "Awake", frozenset({"g0", "g1"}))


@pytest.mark.parametrize(
    ("told", "cause", "spent_s"),
    [
        ([*SLEPT, Told(4.5, "u", "p", "Waking"), Told(5.2, "u", "p", "Awake")], waits.FALLING, 1.5),
        ([*SLEPT, Told(9.0, "u", "p", "Waking")], waits.FALLING, 3.0),
        ([Told(0, "u", "p", "Asleep", frozenset({"g0"})), BESIDE], waits.DECIDING, 3.0),
        (
            [Told(0, "u", "p", "Asleep", frozenset({"g0"})), replace(BESIDE, state="Sleeping")],
            waits.ROOM,
            3.0,
        ),
        (
            [Told(0, "u", "p", "Asleep", frozenset({"g0"})), replace(BESIDE, state="Waking")],
            waits.BESIDE,
            3.0,
        ),
        (
            [Told(0, "u", "p", "Asleep", frozenset({"g2"})), replace(BESIDE, state="Waking")],
            waits.DECIDING,
            3.0,
        ),
        ([Told(0, "u", "p", "Waking")], waits.WAKING, 3.0),
        ([Told(0, "u", "p", "Awake")], waits.AFTER, 3.0),
        ([Told(0, "u", "p", "Starting")], waits.STARTING, 3.0),
    ],
)
def test_a_held_request_is_told_what_it_waited_for(told: list[Told], cause: str, spent_s: float) -> None:
    seconds = waits.spent(told, "p", 3.0, 6.0)
    assert sum(seconds.values()) == pytest.approx(3.0)
    assert seconds[cause] == pytest.approx(spent_s)
    assert waits.blamed(seconds, wake_s=0.8) == cause


def test_the_wake_itself_is_no_ones_fault() -> None:
    told = [Told(0, "u", "p", "Asleep"), Told(1.0, "u", "p", "Waking"), Told(2.0, "u", "p", "Awake")]
    assert waits.blamed(waits.spent(told, "p", 0.5, 2.1), wake_s=1.0) == waits.DECIDING


def seen(first_s: list[float], *, failed: int = 0, starts: int = 0) -> Seen:
    answers = [Answer("m", status=200) for _ in first_s] + [Answer("m", status=500, fault="x")] * failed
    held = [("m00", s) for s in first_s]
    spent = [dict.fromkeys(waits.CAUSES, 0.0) | {waits.ROOM: s - 0.8, waits.WAKING: 0.8} for s in first_s]
    return Seen(answers, held, [], [], starts, 19, starts, {"hot": 1}, [], 0, 0.5, spent)


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"].partition(":")[0]: row for row in rows}


@pytest.mark.parametrize(
    ("warm", "met"),
    [
        (seen([0.9, 1.0]), {}),
        (seen([0.9, 2.0]), {"zipf_ttft_held_p95": False}),
        (seen([0.9], failed=1), {"zipf_requests_failed": False}),
        (seen([0.9], starts=2), {"zipf_hot_hit_fraction": False}),
    ],
)
def test_each_target_of_the_zipf_part_is_missed_by_what_misses_it(warm: Seen, met: dict[str, bool]) -> None:
    dual = Dual(Rules("any", 1), 1, 9, [("m00", 30.0)], 0)
    rows = by_name(zipf._rows(zipf.Sizes(), warm, seen([43.0], starts=19), [dual]))
    told = {name: row["met"] for name, row in rows.items() if row["target"] is not None}
    assert told == dict.fromkeys(told, True) | met
    assert rows["zipf_hot_hit_fraction"]["baseline_value"] == 0.1
    assert rows["zipf_ttft_held_p95"]["baseline_value"] == pytest.approx(
        43.0 / profile("m00").wake_l1_s, abs=0.001
    )


@pytest.mark.parametrize(
    ("kept", "met"),
    [
        (seen([0.9]), {}),
        (seen([0.9, 2.0]), {"part_ttft_held_p95": False}),
        (seen([0.9], failed=1), {"part_requests_failed": False}),
    ],
)
def test_what_is_kept_awake_is_held_to_the_same(kept: Seen, met: dict[str, bool]) -> None:
    rows = by_name(zipf._kept_rows("part", zipf.Sizes(), kept, seen([43.0], starts=19), target=True))
    told = {name: row["met"] for name, row in rows.items() if row["target"] is not None}
    assert told == dict.fromkeys(told, True) | met
    late = {name.partition("for ")[2]: row["value"] for name, row in rows.items() if "waiting for" in name}
    assert late == dict.fromkeys(waits.CAUSES, 0) | {waits.ROOM: len(met) if len(kept.held) > 1 else 0}


def test_sleeping_ahead_stands_beside_the_run_without_it() -> None:
    rows = by_name(ahead.rows_of(zipf.Sizes(), seen([0.9]), seen([0.9, 2.0], failed=1)))
    held, late = (
        rows["ahead_requests_held"],
        rows[f"ahead_requests_held_above_1.5_wake_times, waiting for {waits.ROOM}"],
    )
    assert (held["value"], held["baseline_value"]) == (1, 2)
    assert (late["value"], late["baseline_value"]) == (0, 1)
    assert rows["ahead_requests_failed"]["met"] is False


def test_the_rows_of_faults_miss_their_targets_where_anything_was_lost_or_left() -> None:
    good, lost = Answer("m", status=200), Answer("m", status=500, fault="x")
    clean = faults._rows(faults.Seen(Counter(operator=1), [good]), 0, 10)
    assert all(row["met"] for row in clean if row["target"] is not None)
    dirty = faults._rows(faults.Seen(Counter(operator=1), [good, lost], astray=1, leaked_bytes=1), 1, 10)
    assert not any(row["met"] for row in dirty if row["target"] is not None)


def test_five_hundred_kills_of_every_kind() -> None:
    assert faults.Sizes().rounds * sum(faults.SHARES.values()) == 500
    assert (
        faults.PAUSE_S.keys()
        == faults.SHARES.keys()
        == {"operator", "router", "engine", "agent", "apiserver"}
    )
