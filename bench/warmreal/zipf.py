"""40 models on 24 GPUs under a bursty Zipf load: with a sleeper for each, without any, and the dual-pod way.

Time scale 1: engines take the seconds that the profiles state, and the load comes at the same speed. Every pool is
one replica at most and idle after 30 s, where one would say minutes in a cluster: bursts come as close, so that
minutes hold as many wakes as hours. A GPU has room for two of the models awake. The same load thrice with sleepers: every
idle engine sleeps after those 30 s (`zipf`); only where another needs its room (`zipf_kept`, keepAlive GreedyDual); the
latter with room for one awake on a GPU, 24 in all (`zipf_tight`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.parts import Progress, Row
from bench.real.rows import at_least, at_most, told
from bench.warmreal import dualpod
from bench.warmreal.dualpod import Dual
from bench.warmreal.lab import Lab, open_lab
from bench.warmreal.load import Ask, Bursts, bursty, percentile
from bench.warmreal.pools import names, pool, profile
from bench.warmreal.run import Seen, short, under_load
from bench.warmreal.waits import CAUSES, blamed
from ingle_kit.kube import Object

SEED = 6
HOLD_S = 150
SETUP_IDLE_S = 1  # before and between the loads
AS_SHIPPED = {
    "INGLE_LEASE_DURATION_S": "15",
    "INGLE_LEASE_RENEW_S": "2",
}  # a first sleep outlasts the lab's short lease
PAST_WAKE = 1.5
HOT_FRACTION = 0.95
KEPT = "GreedyDual"


@dataclass(frozen=True)
class Sizes:
    """`length_s`: of the load. `time_scale`: lab seconds a second of a profile."""

    models: int = 40
    length_s: float = 200.0
    idle_s: int = 30
    kv_mib: int = 18_000
    tight_kv_mib: int = 24_000
    keep_alive: str = "Fixed"
    time_scale: float = 1.0
    bursts: Bursts = field(default_factory=Bursts)


SMALL = Sizes(models=8, length_s=30.0, idle_s=3, time_scale=0.2)


def rows(tell: Progress) -> list[Row]:
    sizes = SMALL if os.environ.get("BENCH_SMALL") else Sizes()
    return asyncio.run(_measure(sizes, tell))


async def _measure(sizes: Sizes, tell: Progress) -> list[Row]:
    pools = names(sizes.models)
    asks = bursty(pools, sizes.length_s, SEED, sizes.bursts)
    tell(f"{len(asks)} requests in {sizes.length_s:g} s, {len({a.pool for a in asks})} models asked for")
    async with open_lab(sizes.time_scale, tell, **AS_SHIPPED) as lab:
        warm = await _with_sleepers(lab, sizes, asks, "with sleepers", tell)
        kept = await _with_sleepers(lab, replace(sizes, keep_alive=KEPT), asks, "kept awake", tell)
        await _emptied(lab, sizes)
        tight = replace(sizes, keep_alive=KEPT, kv_mib=sizes.tight_kv_mib)
        tightly = await _with_sleepers(lab, tight, asks, "kept awake, little room", tell)
        await _emptied(lab, tight)
        await lab.apply(made(sizes, sizes.idle_s, asleep=0))
        cold = await under_load(lab, asks)
        tell(f"without sleepers: {short(cold)}")
    duals = await dualpod.measure(asks, sizes.idle_s, sizes.time_scale, tell)
    return [
        *_rows(sizes, warm, cold, duals),
        *_kept_rows("zipf_kept", sizes, kept, cold, target=True),
        *_kept_rows("zipf_tight", sizes, tightly, cold, target=False),
    ]


async def _with_sleepers(lab: Lab, sizes: Sizes, asks: Sequence[Ask], what: str, tell: Progress) -> Seen:
    """The load, once every pool has its one engine asleep."""
    pools, started_s = names(sizes.models), time.monotonic()
    setup = replace(sizes, keep_alive=Sizes.keep_alive)
    await lab.apply(made(setup, SETUP_IDLE_S, asleep=1))
    await lab.asleep(pools, 90 + 150 * sizes.time_scale)
    await lab.apply(made(sizes, sizes.idle_s, asleep=1))
    tell(f"{len(pools)} sleepers after {time.monotonic() - started_s:.0f} s")
    seen = await under_load(lab, asks)
    tell(f"{what}: {short(seen)}")
    return seen


async def _emptied(lab: Lab, sizes: Sizes) -> None:
    await lab.apply(made(replace(sizes, keep_alive=Sizes.keep_alive), SETUP_IDLE_S, asleep=0))
    await lab.gone(120)


def made(sizes: Sizes, idle_s: int, asleep: int) -> list[Object]:
    return [
        pool(
            name,
            asleep=asleep,
            idle_s=idle_s,
            hold_s=HOLD_S,
            kv_mib=sizes.kv_mib,
            keep_alive=sizes.keep_alive,
        )
        for name in names(sizes.models)
    ]


def past_wake(sizes: Sizes, held: list[tuple[str, float]], percent: float) -> float:
    """Seconds to the first token of held requests, as a multiple of the wake time of the model asked for."""
    return percentile([s / (profile(p).wake_l1_s * sizes.time_scale) for p, s in held], percent)


def _rows(sizes: Sizes, warm: Seen, cold: Seen, duals: list[Dual]) -> list[Row]:
    best = duals[0]
    dual_text = f"dual pods, the default scheduler placing them, at best ({_rules(best)})"
    head = f"{sizes.models} models, 24 GPUs"
    found = [
        at_least(
            f"zipf_hot_hit_fraction: {head}; of actuations, those that were wakes",
            warm.hot_fraction,
            "of actuations",
            HOT_FRACTION,
            baseline=dual_text,
            baseline_value=best.hot_fraction,
        ),
        at_most(
            "zipf_ttft_held_p95: requests that found no awake engine, in wake times of their model",
            past_wake(sizes, warm.held, 95),
            "wake times",
            PAST_WAKE,
            baseline="the same cluster without sleepers",
            baseline_value=past_wake(sizes, cold.held, 95),
        ),
        at_most(
            "zipf_requests_failed",
            warm.failed,
            "requests",
            0,
            baseline="the same cluster without sleepers",
            baseline_value=cold.failed,
        ),
        at_most("zipf_memory_above_ledger", warm.oversold + cold.oversold, "readings", 0),
        at_most("zipf_double_wakes", len(warm.double), "wakes", 0),
    ]
    return found + _told(sizes, warm, cold, duals)


def _held_row(part: str, sizes: Sizes, kept: Seen, cold: Seen, target: bool) -> Row:
    name = f"{part}_ttft_held_p95: requests that found no awake engine, in wake times of their model"
    value, baseline_value = past_wake(sizes, kept.held, 95), past_wake(sizes, cold.held, 95)
    baseline = "the cluster of zipf, scaled to zero without sleepers"
    if target:
        return at_most(name, value, "wake times", PAST_WAKE, baseline=baseline, baseline_value=baseline_value)
    return told(name, value, "wake times", baseline=baseline, baseline_value=baseline_value)


def _kept_rows(part: str, sizes: Sizes, kept: Seen, cold: Seen, target: bool) -> list[Row]:
    """Of a run in which idle engines stay awake while nobody needs their room. `target`: whether the wait has one."""
    return [
        _held_row(part, sizes, kept, cold, target),
        at_least(f"{part}_hot_hit_fraction", kept.hot_fraction, "of actuations", HOT_FRACTION),
        at_most(f"{part}_requests_failed", kept.failed, "requests", 0),
        at_most(f"{part}_memory_above_ledger", kept.oversold, "readings", 0),
        at_most(f"{part}_double_wakes", len(kept.double), "wakes", 0),
        told(f"{part}_ttft_held_p50_s", kept.first_token_s(50), "s"),
        told(f"{part}_ttft_held_p95_s", kept.first_token_s(95), "s"),
        told(f"{part}_requests_held", len(kept.held), "requests"),
        told(f"{part}_requests_held_by_an_engine_falling_asleep", len(kept.fell_asleep), "requests"),
        told(f"{part}_wakes", kept.wakes, "wakes"),
        told(f"{part}_starts", kept.starts, "starts"),
        *_late_rows(part, sizes, kept),
    ]


def late(sizes: Sizes, seen: Seen) -> Counter[str]:
    """Held requests that took more than `PAST_WAKE` wake times, by what they waited for most beside the wake itself."""
    found = Counter[str]()
    for (name, first_s), seconds in zip(seen.held, seen.waits, strict=True):
        wake_s = profile(name).wake_l1_s * sizes.time_scale
        if first_s > PAST_WAKE * wake_s:
            found[blamed(seconds, wake_s)] += 1
    return found


def _late_rows(part: str, sizes: Sizes, seen: Seen) -> list[Row]:
    counts = late(sizes, seen)
    return [
        told(
            f"{part}_requests_held_above_{PAST_WAKE:g}_wake_times, waiting for {cause}",
            counts[cause],
            "requests",
        )
        for cause in CAUSES
    ]


def _told(sizes: Sizes, warm: Seen, cold: Seen, duals: list[Dual]) -> list[Row]:
    wakes_s = [profile(name).wake_l1_s * sizes.time_scale for name in names(sizes.models)]
    return [
        told("zipf_ttft_held_p50_s", warm.first_token_s(50), "s", **_without(cold.first_token_s(50))),
        told("zipf_ttft_held_p95_s", warm.first_token_s(95), "s", **_without(cold.first_token_s(95))),
        told(
            "zipf_ttft_held_p95_s beside dual pods (computed from the profiles)",
            warm.first_token_s(95),
            "s",
            baseline=_rules(duals[0]),
            baseline_value=duals[0].first_token_s(95),
        ),
        told(
            "zipf_requests_warm_fraction: found their model awake or waited for a wake",
            warm.warm_fraction,
            "of requests",
            **_without(cold.warm_fraction),
        ),
        told("zipf_requests", len(warm.answers), "requests"),
        told("zipf_requests_held", len(warm.held), "requests", **_without(len(cold.held))),
        told("zipf_requests_held_by_an_engine_falling_asleep", len(warm.fell_asleep), "requests"),
        *_late_rows("zipf", sizes, warm),
        told("zipf_wakes", warm.wakes, "wakes", **_without(cold.wakes)),
        told("zipf_starts", warm.starts, "starts", **_without(cold.starts)),
        *(told(f"zipf_dual_pods_hot_fraction: {_rules(d)}", d.hot_fraction, "of actuations") for d in duals),
        told("zipf_wake_time_s: least of the models", min(wakes_s), "s"),
        told("zipf_wake_time_s: most of the models", max(wakes_s), "s"),
        told("zipf_time_scale", sizes.time_scale, "lab seconds a profile second"),
        told("zipf_cpu", warm.cpu_fraction, "of the machine's CPUs"),
    ]


def _without(value: float) -> dict[str, float | str]:
    return {"baseline": "without sleepers", "baseline_value": value}


def _rules(dual: Dual) -> str:
    which = {"lowest": "its lowest free GPU", "any": "any free GPU of it"}[dual.rules.order]
    return f"a node gives {which}, at most {dual.rules.sleepers} sleepers a GPU"
