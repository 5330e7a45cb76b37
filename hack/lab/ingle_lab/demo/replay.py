"""Real arrivals at real speed through the gateway, spread over the pools by a Zipf law."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import aiohttp

from ingle_lab.demo.clients import Answer
from ingle_lab.demo.scene import COLD_POOL, WARM_POOLS, Scene
from ingle_lab.demo.trace import Arrival, busiest, by_zipf, read_azure

SEED = 1
PROGRESS_S = 10.0
OUTCOMES = ("hot", "woken", "cold")


async def replay(scene: Scene, path: Path, length_s: float) -> None:
    """Sends every request at its time and waits for all of them. `requests_failed` counts any that was not whole."""
    arrivals = busiest(read_azure(path), length_s)
    models = by_zipf([*WARM_POOLS, COLD_POOL], len(arrivals), SEED)
    scene.head(f"7. {path.name}: busiest {length_s:.0f} s, {len(arrivals)} requests at real speed")
    started_s = time.monotonic()
    before = await _outcomes(scene)
    tasks: list[asyncio.Task[Answer]] = []
    told_s = started_s
    for arrival, model in zip(arrivals, models, strict=True):
        await asyncio.sleep(max(0.0, arrival.at_s - (time.monotonic() - started_s)))
        tasks.append(asyncio.create_task(_one(scene, arrival, model)))
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            scene.say(f"{len(tasks)} of {len(arrivals)} sent, {sum(t.done() for t in tasks)} answered")
    answers = await asyncio.gather(*tasks)
    after = await _outcomes(scene)
    _sum_up(scene, answers, {kind: after[kind] - before[kind] for kind in OUTCOMES})


async def _one(scene: Scene, arrival: Arrival, model: str) -> Answer:
    tokens = max(1, arrival.output_tokens)
    return await scene.clients["team"].ask(model, tokens=tokens, prompt_tokens=arrival.prompt_tokens)


async def _outcomes(scene: Scene) -> Counter[str]:
    """How many requests the router has answered hot, woken and cold, by its own count."""
    counts: Counter[str] = Counter()
    limit = aiohttp.ClientTimeout(total=5)
    async with scene.session.get(f"{scene.stack.router}/metrics", timeout=limit) as reply:
        for line in (await reply.text()).splitlines():
            if line.startswith("ingle_router_requests_total"):
                kind = line.partition('outcome="')[2].partition('"')[0]
                counts[kind] += int(float(line.rsplit(" ", 1)[1]))
    return counts


def _sum_up(scene: Scene, answers: list[Answer], kinds: dict[str, int]) -> None:
    failed = [a for a in answers if not a.good]
    scene.figures |= {"requests": len(answers), "requests_failed": len(failed)}
    scene.figures |= {f"requests_{kind}": count for kind, count in kinds.items()}
    for answer in failed[:5]:
        scene.say(f"failed: {answer.model} status {answer.status} {answer.fault} {answer.message}")
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    scene.say(f"{len(answers)} requests, {len(failed)} failed; by the router's count {told}")
