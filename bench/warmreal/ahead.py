"""The tight load of `zipf.py` with and without sleeping ahead, on one lab: the same sleepers on the same GPUs, an operator
started anew before each, so that it knows nothing of the run before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.parts import Progress, Row
from bench.real.rows import at_most, told
from bench.warmreal.lab import Lab, open_lab
from bench.warmreal.load import Ask, bursty
from bench.warmreal.pools import names
from bench.warmreal.run import Seen, short, under_load
from bench.warmreal.waits import CAUSES
from bench.warmreal.zipf import (
    AS_SHIPPED,
    KEPT,
    PAST_WAKE,
    SEED,
    SETUP_IDLE_S,
    SMALL,
    Sizes,
    late,
    made,
    past_wake,
)

SETTING = "INGLE_SLEEP_AHEAD"


def rows(tell: Progress) -> list[Row]:
    sizes = SMALL if os.environ.get("BENCH_SMALL") else Sizes()
    return asyncio.run(_measure(replace(sizes, keep_alive=KEPT, kv_mib=sizes.tight_kv_mib), tell))


async def _measure(sizes: Sizes, tell: Progress) -> list[Row]:
    asks = bursty(names(sizes.models), sizes.length_s, SEED, sizes.bursts)
    async with open_lab(sizes.time_scale, tell, **AS_SHIPPED) as lab:
        without = await _run(lab, sizes, asks, False, tell)
        with_ = await _run(lab, sizes, asks, True, tell)
    return rows_of(sizes, with_, without)


async def _run(lab: Lab, sizes: Sizes, asks: Sequence[Ask], ahead: bool, tell: Progress) -> Seen:
    """The load, once every pool has its one engine asleep and the operator has this setting."""
    await lab.apply(made(replace(sizes, keep_alive=Sizes.keep_alive), SETUP_IDLE_S, asleep=1))
    await lab.asleep(names(sizes.models), 90 + 150 * sizes.time_scale)
    await lab.scene.stack.restart_operator({SETTING: str(ahead).lower()})
    await lab.apply(made(sizes, sizes.idle_s, asleep=1))
    await lab.pools_read()
    seen = await under_load(lab, asks)
    tell(f"{SETTING}={str(ahead).lower()}: {short(seen)}")
    return seen


def rows_of(sizes: Sizes, with_: Seen, without: Seen) -> list[Row]:
    """Each figure with, and beside it without."""

    def beside(what: str, unit: str, of: Callable[[Seen], float]) -> Row:
        return told(
            f"ahead_{what}",
            of(with_),
            unit,
            baseline=f"no_sleep_ahead ({SETTING}=false), same load and GPUs",
            baseline_value=of(without),
        )

    failed, oversold = with_.failed + without.failed, with_.oversold + without.oversold
    return [
        beside("ttft_held_p50_s", "s", lambda seen: seen.first_token_s(50)),
        beside("ttft_held_p95_s", "s", lambda seen: seen.first_token_s(95)),
        beside("ttft_held_p95", "wake times", lambda seen: past_wake(sizes, seen.held, 95)),
        beside("ttft_mean_s", "s a request", mean_first_s),
        beside("requests_held", "requests", lambda seen: len(seen.held)),
        beside("requests_held_by_an_engine_falling_asleep", "requests", lambda seen: len(seen.fell_asleep)),
        beside("wakes", "wakes", lambda seen: seen.wakes),
        *(
            beside(
                f"requests_held_above_{PAST_WAKE:g}_wake_times, waiting for {cause}",
                "requests",
                lambda seen, cause=cause: late(sizes, seen)[cause],  # type: ignore[misc]
            )
            for cause in CAUSES
        ),
        at_most("ahead_requests_failed: with and without", failed, "requests", 0),
        at_most("ahead_memory_above_ledger: with and without", oversold, "readings", 0),
    ]


def mean_first_s(seen: Seen) -> float:
    """Seconds to the first token of all requests, those that found their model awake too."""
    every = [*(first_s for _, first_s in seen.held), *seen.hot_first_s]
    return sum(every) / max(1, len(every))
