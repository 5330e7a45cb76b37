"""Public traces at real speed through Envoy, router and engines: errors, double wakes, memory against the ledger.

Both traces at once, each over pools of its own, for the busiest ten minutes of each. Arrivals come at real speed; the
engines run at time scale 0.1, ten times as fast as the H100s of their profiles, as in the demonstration: two cores
are to carry the tokens of two services, and pools fall asleep and wake the more often. Prompts are told by number,
so that bodies are small.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.parts import Progress, Row
from bench.real.rows import at_most, told
from bench.warming.rows import folder
from bench.warmreal.arrivals import dealt, read_mooncake, together
from bench.warmreal.enginelogs import Wakes, wakes_of
from bench.warmreal.lab import Lab, open_lab
from bench.warmreal.load import Ask, percentile
from bench.warmreal.pools import LONG_CONTEXT_TOKENS, long_names, names, pool
from bench.warmreal.run import Seen, short, under_load
from ingle_lab.demo.trace import read_azure

SEED = 5
HOLD_S = 60
TIME_SCALE = 0.1
CONTEXT_TOKENS = 16_384
AZURE = ("azure-llm-2023", "AzureLLMInferenceTrace_conv.csv")
MOONCAKE = ("mooncake-fast25", "conversation_trace.jsonl.gz")


@dataclass(frozen=True)
class Sizes:
    """`pools`: for each trace. `length_s`: of each, both at once."""

    pools: int = 12
    length_s: float = 600.0
    idle_s: int = 3


SMALL = Sizes(pools=4, length_s=30.0)


def rows(tell: Progress) -> list[Row]:
    sizes = SMALL if os.environ.get("BENCH_SMALL") else Sizes()
    return asyncio.run(_measure(sizes, tell))


def load(sizes: Sizes) -> tuple[list[Ask], list[Ask]]:
    """The requests of the two traces, `azure-llm-2023` and `mooncake-fast25`."""
    azure = read_azure(folder(AZURE[0]) / AZURE[1])
    mooncake = read_mooncake(folder(MOONCAKE[0]) / MOONCAKE[1])
    return (
        dealt(azure, names(sizes.pools), sizes.length_s, SEED, CONTEXT_TOKENS),
        dealt(mooncake, long_names(sizes.pools), sizes.length_s, SEED, LONG_CONTEXT_TOKENS),
    )


async def _measure(sizes: Sizes, tell: Progress) -> list[Row]:
    azure, mooncake = load(sizes)
    tell(f"{len(azure)} requests of azure, {len(mooncake)} of mooncake in {sizes.length_s:g} s")
    pools = names(sizes.pools) + long_names(sizes.pools)
    async with open_lab(TIME_SCALE, tell) as lab:
        await lab.apply(pool(name, asleep=1, idle_s=sizes.idle_s, hold_s=HOLD_S) for name in pools)
        await lab.asleep(pools, 120)
        before = wakes_of(lab.scene.stack.lab)
        seen = await under_load(lab, together(azure, mooncake))
        await lab.asleep(pools, 60)
        wakes = wakes_of(lab.scene.stack.lab).since(before)
        tell(f"{short(seen)}; {wakes}")
        all_wakes = lab.moves.counts["Waking"]
    return _rows(sizes, (len(azure), len(mooncake)), seen, wakes, all_wakes, lab)


def _rows(
    sizes: Sizes, requests: Sequence[int], seen: Seen, wakes: Wakes, claimed: int, lab: Lab
) -> list[Row]:
    seconds, witnessed = f"{sizes.length_s:g} s", lab.witnessed
    double = len(seen.double) + wakes.needless + max(0, wakes.done - claimed)
    return [
        at_most(
            f"traces_errors: azure-llm-2023 and mooncake at real speed for {seconds}",
            seen.failed,
            "requests",
            0,
        ),
        at_most(
            "traces_double_wakes: beyond one for each claim, or beside an engine that serves",
            double,
            "wakes",
            0,
        ),
        at_most("traces_memory_above_ledger", witnessed.oversold_samples, "readings", 0),
        told("traces_memory_readings", witnessed.memory_samples, "readings"),
        told("traces_requests_azure", requests[0], "requests"),
        told("traces_requests_mooncake", requests[1], "requests"),
        *(told(f"traces_requests_{kind}", number, "requests") for kind, number in seen.outcomes.items()),
        told("traces_wakes", wakes.done, "wakes"),
        told("traces_starts", seen.starts, "starts"),
        told("traces_ttft_held_p50_s", seen.first_token_s(50), "s"),
        told("traces_ttft_held_p95_s", seen.first_token_s(95), "s"),
        told("traces_ttft_hot_p50_s", percentile(seen.hot_first_s, 50), "s"),
        told("traces_time_scale", TIME_SCALE, "lab seconds a profile second"),
        told("traces_cpu", seen.cpu_fraction, "of the machine's CPUs"),
    ]
