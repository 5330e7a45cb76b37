"""Many requests at once, with clients that leave at any moment: every count comes back to zero."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from .conftest import MakeRig, Rig, eventually


async def _one(rig: Rig, luck: random.Random) -> str:
    stream, patience_s = luck.random() < 0.5, luck.choice([0.01, 0.1, 0.3, 20, 20])
    try:
        async with asyncio.timeout(patience_s), rig.ask("org/llama", stream=stream) as response:
            body = await response.read()
            good = body.endswith(b"[DONE]\n\n") if stream else b"engine" in body
            return (
                "served"
                if response.status == 200 and good and b'"error"' not in body
                else f"{response.status}"
            )
    except TimeoutError:
        return "left"


async def test_counts_come_back_to_zero_whatever_clients_do(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.pool("llama")
    luck = random.Random(7)
    engines = [await rig.engine("llama", awake=False) for _ in range(2)]
    asking = [asyncio.create_task(_one(rig, luck)) for _ in range(150)]
    await eventually(lambda: rig.waiting("chat/llama") > 50)
    rig.pod(engines[0], "llama", awake=True)
    await eventually(lambda: bool(engines[0].seen))
    rig.pod(engines[1], "llama", awake=True)
    asking += [asyncio.create_task(_one(rig, luck)) for _ in range(150)]
    outcomes = Counter(await asyncio.gather(*asking))
    assert outcomes.keys() == {"served", "left"}, outcomes
    await eventually(
        lambda: (
            sum(map(rig.in_flight, engines))
            == rig.waiting("chat/llama")
            == len(rig.running.router.places)
            == 0
        )
    )
    await eventually(lambda: all(engine.open == 0 for engine in engines))
    assert rig.running.picker.idle.is_set()
