"""Real arrivals at real speed through the gateway, spread over the pools by a Zipf law."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

from ingle_lab.demo.clients import Answer
from ingle_lab.demo.scene import COLD_POOL, WARM_POOLS, Scene
from ingle_lab.demo.trace import Arrival, busiest, by_zipf, read_azure

SEED = 1
PROMPT_TOKENS_MAX = 6000
PROGRESS_S = 10.0
COLD_START_S = 2.0


async def replay(scene: Scene, path: Path, length_s: float) -> None:
    """Sends every request at its time and waits for all of them. `requests_failed` counts any that was not whole."""
    arrivals = busiest(read_azure(path), length_s)
    models = by_zipf([*WARM_POOLS, COLD_POOL], len(arrivals), SEED)
    scene.head(f"7. {path.name}: busiest {length_s:.0f} s, {len(arrivals)} requests at real speed")
    started_s = time.monotonic()
    tasks: list[asyncio.Task[Answer]] = []
    told_s = started_s
    for arrival, model in zip(arrivals, models, strict=True):
        await asyncio.sleep(max(0.0, arrival.at_s - (time.monotonic() - started_s)))
        tasks.append(asyncio.create_task(_one(scene, arrival, model)))
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            scene.say(f"{len(tasks)} of {len(arrivals)} sent, {sum(t.done() for t in tasks)} answered")
    answers = await asyncio.gather(*tasks)
    _sum_up(scene, answers)


async def _one(scene: Scene, arrival: Arrival, model: str) -> Answer:
    prompt_tokens = min(arrival.prompt_tokens, PROMPT_TOKENS_MAX)
    tokens = max(1, arrival.output_tokens)
    return await scene.clients["team"].ask(model, tokens=tokens, prompt_tokens=prompt_tokens)


def _sum_up(scene: Scene, answers: list[Answer]) -> None:
    failed = [a for a in answers if not a.good]
    kinds = Counter(_kind(a) for a in answers if a.good)
    scene.figures |= {
        "requests": len(answers),
        "requests_failed": len(failed),
        "requests_hot": kinds["hot"],
        "requests_woken": kinds["woken"],
        "requests_cold": kinds["cold"],
    }
    for answer in failed[:5]:
        scene.say(f"failed: {answer.model} status {answer.status} {answer.fault} {answer.message}")
    scene.say(f"{len(answers)} requests, {len(failed)} failed; {dict(kinds)}")


def _kind(answer: Answer) -> str:
    """Hot: never held. Held requests of the pool that keeps no sleeper were cold, the others woken."""
    if not answer.comments:
        return "hot"
    return "cold" if answer.model == COLD_POOL and answer.first_token_s > COLD_START_S else "woken"
