"""Kinds of engines and levels of sleep against a real API server: what each is told, and what a killed operator left."""

from __future__ import annotations

from functools import partial
from typing import Any

from ingle_core.ledger import Ledger, move
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Written, write

AWAKE_MIB, ASLEEP_MIB = 40000, 1500
L2_WAKE = ["/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache", "/reset_prefix_cache"]


async def states(kube: Kube) -> list[str]:
    pool = await kube.get(names.INFERENCE_POOL, "p", "default")
    return [engine["state"] for engine in (pool.get("status") or {}).get("engines") or []]


async def until_told(kube: Kube, site: Any, state: str) -> Any:
    async def told() -> bool:
        return await states(kube) == [state]

    await site.until(told, f"the status says {state}")
    (engine,) = site.engines.values()
    return engine


async def test_a_sleeper_of_level_2_reads_its_weights_again_also_when_the_operator_died_in_between(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running():
        await kube.create(
            names.INFERENCE_POOL, bodies.pool(warm={"asleep": 1, "idleSeconds": 1, "level": "L2"})
        )
        engine = await until_told(kube, site, "AsleepL2")
        assert engine.calls == ["probe", "/sleep?level=2"]
    site.ask("default/p", 1)
    change = partial(
        move, pod_uid=engine.uid, state="Waking", memory_mib=AWAKE_MIB, watts=300, at=site.stamp()
    )
    assert isinstance(await write(site.scheduler, "n1", change), Written)
    engine.parts = {"kv_cache"}  # its weights have room, and nothing is in them
    engine.calls.clear()
    async with operators.running():
        await site.until(lambda: site.gate_open(engine.uid), "the gate is open")
        assert engine.good
        assert engine.calls == L2_WAKE
        site.ask("default/p", 0)
        await until_told(kube, site, "AsleepL2")
    assert list(site.engines) == [engine.uid]


async def test_sglang_is_told_to_release_and_resume_and_never_the_same_twice(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running():
        body = bodies.pool(engine={"kind": "SGLang", "image": "i", "startSeconds": 60})
        await kube.create(names.INFERENCE_POOL, body)
        engine = await until_told(kube, site, "AsleepL1")
        assert engine.calls == ["probe", "/flush_cache", "/release_memory_occupation kv_cache,weights"]
        assert container(await only_pod(kube))["command"] == ["python3", "-m", "sglang.launch_server"]
        engine.calls.clear()
        site.ask("default/p", 1)
        await site.until(lambda: site.gate_open(engine.uid), "the gate is open")
        resume = "/resume_memory_occupation"
        assert engine.calls == [f"{resume} weights", f"{resume} kv_cache", "/flush_cache"]
        site.running = 1  # in the engine itself, not known to any router
        engine.calls.clear()
        site.ask("default/p", 0)
        await site.until(lambda: engine.calls.count("/flush_cache") >= 2, "it was asked whether it is idle")
        assert not engine.asleep
        site.running = 0
        await until_told(kube, site, "AsleepL1")
    async with operators.running():  # which has told it nothing itself
        site.ask("default/p", 1)
        await site.until(lambda: site.gate_open(engine.uid), "the gate is open again")
    assert not engine.dead
    assert list(site.engines) == [engine.uid]


async def test_a_pool_of_spares_without_a_launcher_to_make_them_of_says_what_to_set_and_gets_no_pod(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool(warm={"asleep": 1, "level": "Spare"}))

        async def told() -> bool:
            pool = await kube.get(names.INFERENCE_POOL, "p", "default")
            conditions = {c["type"]: c for c in (pool.get("status") or {}).get("conditions") or ()}
            stalled = conditions.get("Stalled", {})
            return stalled.get("reason") == "SpareNotInstalled" and "INGLE_SPARE_IMAGE" in stalled["message"]

        await site.until(told, "the pool says what is missing")
        assert (await kube.list(names.POD, "default", label_selector=names.LABEL_POOL))[0] == []


async def only_pod(kube: Kube) -> Object:
    ((pod,), _) = await kube.list(names.POD, "default", label_selector=names.LABEL_POOL)
    return pod


def container(pod: Object) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


async def test_an_unused_engine_that_becomes_slow_takes_no_requests_until_its_probes_are_steady(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running(probe_again_s=0.5, probe_slack_s=0.2) as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(replicas={"min": 1, "max": 1}))
        await site.until(lambda: any(site.gate_open(uid) for uid in site.engines), "it serves")
        (engine,) = site.engines.values()
        engine.slow_s = 0.5
        await site.until(lambda: not site.gate_open(engine.uid), "its gate is shut")
        assert world.ledger("n1").holder(engine.uid).state == "Starting"
        engine.slow_s = 0.0
        await site.until(lambda: site.gate_open(engine.uid), "it serves again")
        events = (await kube.list(names.EVENT, "default"))[0]
        assert any(e["reason"] == "SlowAgain" for e in events)
    claimed = Ledger.from_dict((await kube.get(names.GPU_NODE, "n1"))["spec"]).gpus[0].claimed_mib
    assert claimed == AWAKE_MIB
    assert list(site.engines) == [engine.uid]
