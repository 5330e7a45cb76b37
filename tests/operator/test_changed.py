"""A pool is changed while it serves."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ingle_core.warmpool.rollout import BACK_AFTER
from ingle_kit import names
from ingle_kit.kube import Kube


async def test_a_changed_pool_serves_on_and_the_old_engine_ends_when_its_last_request_has(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running():
        body = bodies.pool(replicas={"min": 1, "max": 1}, warm={"asleep": 0, "idleSeconds": 3600})
        await kube.create(names.INFERENCE_POOL, body)

        def serving() -> list[Any]:
            return [e for e in site.engines.values() if site.gate_open(e.uid)]

        (old,) = await site.until(serving, "it serves")
        old.running = 1
        site.demand["default/p"] = (0, 1)
        site.touch()
        variant = body["spec"]["variants"][0] | {"args": ["--max-num-seqs=7"]}
        await kube.merge_patch(names.INFERENCE_POOL, "p", {"spec": {"variants": [variant]}}, "default")

        def replaced() -> bool:
            assert serving(), "nobody takes requests"
            return [e.uid for e in serving()] != [old.uid] and not site.gate_open(old.uid)

        await site.until(replaced, "the new one serves and the old one is shut")
        asked = old.asked
        await site.until(lambda: old.asked >= asked + 3, "the old one is asked whether it is done")
        assert old.uid in site.engines
        old.running = 0
        await site.until(lambda: old.uid not in site.engines, "it ends")
        assert len(site.engines) == 1


async def test_a_change_that_never_starts_leaves_the_old_engine_and_says_so(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running() as world:
        body = bodies.pool(replicas={"min": 1, "max": 1}, warm={"asleep": 0, "idleSeconds": 3600})
        await kube.create(names.INFERENCE_POOL, body)
        await site.until(lambda: any(site.gate_open(uid) for uid in site.engines), "it serves")
        (old,) = site.engines.values()
        site.faults["p"] = "Crash"
        variant = body["spec"]["variants"][0] | {"args": ["--no-such-flag"]}
        await kube.merge_patch(names.INFERENCE_POOL, "p", {"spec": {"variants": [variant]}}, "default")

        first = await site.until(lambda: world.notes.failures.get("default/p"), "a new one has failed")
        world.notes.failures["default/p"] = replace(first, count=BACK_AFTER - 1, at_s=0.0)  # pauses are long

        async def stalled() -> Any:
            found = bodies.condition(await kube.get(names.INFERENCE_POOL, "p", "default"), "Stalled")
            return found if found.get("status") == "True" else None

        found = await site.until(stalled, "it is stalled")
        assert "the engines of the revision before stay" in found["message"]
        assert world.ledger("n1").holder(old.uid).state == "Awake"
        assert site.gate_open(old.uid)
    async with operators.running() as later:
        failed = await site.until(lambda: later.notes.failures.get("default/p"), "a new leader knows it")
        assert failed.count >= BACK_AFTER
        assert site.gate_open(old.uid)
        told = await site.until(stalled, "it still says so")
        assert "the engines of the revision before stay" in told["message"]


async def test_an_old_engine_that_is_lost_while_new_ones_do_not_start_is_made_anew_and_serves(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running() as world:
        body = bodies.pool(replicas={"min": 1, "max": 1}, warm={"asleep": 0, "idleSeconds": 3600})
        await kube.create(names.INFERENCE_POOL, body)

        def serving(but: str = "") -> Any:
            found = (e for e in site.engines.values() if site.gate_open(e.uid) and e.uid != but)
            return next(found, None)

        async def remembered() -> Any:
            return (await kube.get(names.INFERENCE_POOL, "p", "default"))["status"].get("lastGood")

        async def change(*args: str) -> None:
            variant = body["spec"]["variants"][0] | {"args": list(args)}
            await kube.merge_patch(names.INFERENCE_POOL, "p", {"spec": {"variants": [variant]}}, "default")

        def pod_of(uid: str) -> Any:
            return next(pod for pod in world.pods.store.values() if pod.uid == uid)

        old = await site.until(serving, "it serves")
        good = await site.until(remembered, "what started is remembered")
        revision = pod_of(old.uid).revision
        assert good["revision"] == revision
        site.faults["--no-such-flag"] = "Crash"
        await change("--no-such-flag")
        first = await site.until(lambda: world.notes.failures.get("default/p"), "a new one has failed")
        world.notes.failures["default/p"] = replace(
            first, count=BACK_AFTER, at_s=time.time()
        )  # pauses are long

        await site.set_status(pod_of(old.uid).key[1], {"phase": "Failed"})
        anew = await site.until(lambda: serving(old.uid), "another one serves in its place")
        assert pod_of(anew.uid).revision == revision
        assert await remembered() == good
        assert world.notes.failures["default/p"].count >= BACK_AFTER, (
            "the new revision is not thought well of"
        )

        await change("--max-num-seqs=7")
        new = await site.until(lambda: serving(anew.uid), "the pool's third revision serves")
        assert pod_of(new.uid).revision != revision
        await site.until(lambda: anew.uid not in site.engines, "the one that stood in ends")
