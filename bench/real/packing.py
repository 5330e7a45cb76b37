"""The openb trace through a real kube-scheduler and our extender: how much of all GPUs is allocated at 130 % asked.

A slice of the nodes, so that it ends in minutes. Pods come one after the other; what fits nowhere is refused for good,
as in the replay. The mix is what the extender reads from InferencePools, so it knows no CPU: that only decides which
nodes kube-scheduler offers. Pods without GPUs are the default scheduler's. It spreads them, also over nodes whose GPUs
then stay idle for want of CPU; the plain replay puts them where they fragment least. Replays of the same slice tell
these causes apart: `same_mix` as the extender decides and `knowing_cpu` with CPU in its mix, both with those pods
where the cluster has them; `cpu_pods_apart` as the extender decides, with them where the plain replay has them; `plain`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from bench.placement_packing import folder
from bench.real.beside import (
    NOWHERE,
    Beside,
    Seen,
    Slice,
    allocated_percent,
    ask_body,
    compared,
    device_pod,
    mix_of_pools,
    named,
    our_pod,
    plain,
    pools,
    shape,
    slice_of,
)
from bench.real.bulk import say
from bench.real.inturn import LOOK_EVERY_S, InTurn
from bench.real.rows import Row, at_least, at_most, told
from bench.real.site import DEFAULT_SCHEDULER, Site
from ingle_core.placement.mix import Mix, mix_of
from ingle_simulator import openb
from ingle_simulator.ingle import class_of
from ingle_simulator.openb import GPU_MILLI
from ingle_simulator.placement import FIRST_SEED

BELOW_POINTS: Final = 0.2
MIX_KNOWN_S: Final = 60.0


async def rows(site: Site, *, every: int) -> list[Row]:
    """Allocated shares: the cluster with us, replays of the same slice, the default scheduler."""
    nodes, pods = openb.read_nodes(folder()), openb.read_pods(folder())
    part = slice_of(nodes, pods, every, FIRST_SEED)
    say(f"packing: {len(part.nodes)} nodes, {part.total_milli // GPU_MILLI} GPUs, {len(part.coming)} pods")
    await site.bulk.make_nodes([shape(node) for node in part.nodes])
    by_default = await _by_default(site, part)
    bodies = pools(pods)
    await site.bulk.make_pools(bodies)
    mix = mix_of_pools(bodies)
    seen = await _with_us(site, part, mix)
    beside = compared(part, seen, Beside(part.nodes, mix))
    knowing_cpu = compared(part, seen, Beside(part.nodes, mix_of(map(class_of, pods)), cpu_known=True))
    simulated = plain(part, pods)
    apart = compared(part, simulated, Beside(part.nodes, mix))
    ours, default = allocated_percent(part, seen), allocated_percent(part, by_default)
    unit = "% of GPUs"
    return [
        at_least(
            "packing_openb_default",
            ours,
            unit,
            round(beside.allocated_percent - BELOW_POINTS, 2),
            baseline="default scheduler, shares take whole GPUs, %",
            baseline_value=default,
        ),
        told("packing_replay_same_mix", beside.allocated_percent, unit),
        told("packing_replay_knowing_cpu", knowing_cpu.allocated_percent, unit),
        told("packing_replay_cpu_pods_apart", apart.allocated_percent, unit),
        told("packing_replay_plain", allocated_percent(part, simulated), unit),
        at_most("packing_chosen_otherwise", beside.asked - beside.same, "pods", 0),
        told("packing_nodes", len(part.nodes), "nodes"),
        told("packing_pods", len(part.coming), "pods"),
    ]


async def _by_default(site: Site, part: Slice) -> list[Seen]:
    await site.start_scheduler(extender=False, default=True)
    seen = []
    async with InTurn(site) as turn:
        for number, (name, pod) in enumerate(named(part.coming)):
            _tell("default scheduler", number, part)
            found = await turn.place(device_pod(name, pod, DEFAULT_SCHEDULER))
            seen.append((found.node, found.gpus) if found else NOWHERE)
    await site.reset()
    return seen


async def _with_us(site: Site, part: Slice, mix: Mix | None) -> list[Seen]:
    await site.start_extender()
    await site.start_scheduler(default=True)
    seen = []
    async with InTurn(site) as turn:
        await _mix_known(turn, part, mix)
        for number, (name, pod) in enumerate(named(part.coming)):
            _tell("with us", number, part)
            found = await turn.place(our_pod(name, pod, DEFAULT_SCHEDULER))
            seen.append((found.node, found.gpus) if found else NOWHERE)
            if found and 0 < pod.gpu_milli < GPU_MILLI:  # nobody else looks at a GPU that is taken whole
                await turn.awake(found, pod.gpu_milli)
    await site.reset()
    return seen


async def _mix_known(turn: InTurn, part: Slice, mix: Mix | None) -> None:
    """Returns when the extender answers as a replay with this mix does: it has read the pools."""
    first = next(pod for pod in part.coming if pod.gpus)
    ranking = Beside(part.nodes, mix).rank(replace(first, cpu_milli=0))
    wanted, answer = (ranking.node, list(ranking.gpus), round(ranking.score, 5)), None
    try:
        async with asyncio.timeout(MIX_KNOWN_S):
            while answer != wanted:
                found = await turn.whatif(ask_body(first))
                answer = found.get("node"), found.get("gpus"), found.get("score")
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise TimeoutError(f"the extender answers {answer}; with the mix it is {wanted}") from None


def _tell(what: str, number: int, part: Slice) -> None:
    if number and number % 200 == 0:
        say(f"packing, {what}: {number} of {len(part.coming)} pods")
