"""How soon a pod that fits nowhere is told so, with one reason for each class of nodes."""

from __future__ import annotations

import time

from bench.real.bulk import say
from bench.real.burst import ready
from bench.real.objects import Shape, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_most
from bench.real.site import Site

LIMIT_S = 1.0
TOO_BIG_MIB = 79_999
OTHER, SMALL, SILENT = 5, 7, 11  # one node in so many


def shape(number: int) -> Shape:
    """Nodes of four classes, for a pod that wants an H100 with 79 999 MiB: none fits."""
    name = f"v{number:05d}"
    if number % OTHER == 0:
        return Shape(name, product="A100")
    if number % SILENT == 0:
        return Shape(name, silent=True)
    return Shape(name, allocatable_mib=40_000 if number % SMALL == 0 else 79_000)


async def rows(site: Site, *, nodes: int, rounds: int) -> list[Row]:
    """Seconds from the pod's creation until PodScheduled is False with all reasons, the slowest round."""
    made = [shape(i) for i in range(nodes)]
    await site.reset()
    await site.bulk.make_nodes([*made, Shape("start", product="Start")])
    await site.start_extender()
    await site.start_scheduler()
    worst_s = 0.0
    async with PodWatch(site.kube) as watch:
        await ready(site, watch)
        for number in range(rounds):
            name = f"x{number}"
            started_s = time.monotonic()
            pod = engine_pod(name, memory_mib=TOO_BIG_MIB, products=["H100"])
            await site.bulk.make_pods([pod])
            await watch.until(lambda n=name: bool(watch.refused([n])), f"pod {name} refused", 60)  # type: ignore[misc]
            taken_s = watch.refused_at_s[name] - started_s
            refusal = watch.pods[name].refusal
            say(f"verdict over {nodes} nodes, round {number + 1} of {rounds}: {taken_s:.2f} s: {refusal}")
            _check(refusal, made)
            worst_s = max(worst_s, taken_s)
    await site.reset()
    return [at_most(f"verdict_{nodes}_s", worst_s, "s", LIMIT_S)]


def _check(refusal: tuple[str, str] | None, made: list[Shape]) -> None:
    """Every class is in the message with its number of nodes."""
    silent = sum(s.silent for s in made)
    other = sum(s.product == "A100" for s in made) + 1  # and the node for the first pod
    wanted = {
        "node's Ingle agent is silent": silent,
        "too few GPUs of a wanted product": other,
        "too little free GPU memory": len(made) - silent - other + 1,
    }
    reason, text = refusal or ("", "")
    missing = [f"{n} {what}" for what, n in wanted.items() if f"{n} {what}" not in text]
    if reason != "Unschedulable" or missing:
        raise RuntimeError(f"the verdict lacks {missing}: {reason}: {text}")
