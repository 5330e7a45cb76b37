"""An engine's whole life against a real API server: started, put to sleep, woken, replaced, gone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from ingle_core.ledger import Ledger, move
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Written, write
from ingle_kit.objects import timestamp
from ingle_operator.reconcile.pools import reconcile_pool

AWAKE_MIB, ASLEEP_MIB = 40000, 1500


async def pool_of(kube: Kube, name: str = "p") -> Object:
    return await kube.get(names.INFERENCE_POOL, name, "default")


async def replicas(kube: Kube, name: str = "p") -> dict[str, int]:
    found: dict[str, int] = ((await pool_of(kube, name)).get("status") or {}).get("replicas") or {}
    return found


async def until_asleep(kube: Kube, site: Any, name: str = "p") -> Any:
    async def asleep() -> bool:
        return (await replicas(kube, name)).get("asleep") == 1

    await site.until(asleep, f"an engine of {name} sleeps")
    return next(engine for engine in site.engines.values() if engine.pool == name)


async def engine_pods(kube: Kube) -> list[Object]:
    return (await kube.list(names.POD, "default", label_selector=names.LABEL_POOL))[0]


async def test_a_pool_starts_an_engine_puts_it_to_sleep_and_wakes_it_for_a_request(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        engine = await until_asleep(kube, site)
        assert engine.calls == ["probe", "/sleep"]
        site.ask("default/p", 1)
        await site.until(lambda: site.gate_open(engine.uid), "the gate is open")
        assert engine.calls == ["probe", "/sleep", "/wake_up", "/reset_prefix_cache"]
        assert world.ledger("n1").holder(engine.uid).state == "Awake"
        site.ask("default/p", 0)
        await site.until(lambda: engine.asleep, "it sleeps again")
        assert (await engine_pods(kube))[0]["metadata"]["uid"] == engine.uid


async def test_an_engine_with_a_request_is_not_put_to_sleep(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    site.running = 1  # in the engine itself, not known to any router
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool())

        def sleeping() -> Any:
            ledger = world.ledger("n1")
            return ledger and [h for h in ledger.pods if h.state == "Sleeping"]

        (holder,) = await site.until(sleeping, "the engine is to sleep")
        await site.until(lambda: not site.gate_open(holder.uid), "its gate is shut")
        engine = site.engines[holder.uid]
        asked = engine.asked
        await site.until(lambda: engine.asked >= asked + 3, "it was asked again and again")
        assert engine.calls == ["probe"]
        site.running = 0
        await site.until(lambda: engine.asleep, "it sleeps when the request is done")


STARTS = {
    "charged for a wake, call not sent": ("Waking", AWAKE_MIB, True, False),
    "woken, not yet written": ("Waking", AWAKE_MIB, False, False),
    "awake, gate still shut": ("Awake", AWAKE_MIB, False, False),
    "to sleep, gate still open": ("Sleeping", AWAKE_MIB, False, True),
    "to sleep, call not sent": ("Sleeping", AWAKE_MIB, False, False),
    "asleep, charge not lowered": ("Sleeping", AWAKE_MIB, True, False),
    "asleep, gate still open": ("Asleep", ASLEEP_MIB, True, True),
    "asleep in the ledger, awake in truth": ("Asleep", ASLEEP_MIB, False, False),
}


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "idle"])
async def test_a_new_operator_finishes_what_a_killed_one_had_begun(
    kube: Kube, site: Any, operators: Any, bodies: Any, wanted: bool
) -> None:
    await site.node("n1")
    await site.router("n1")
    await kube.create(names.INFERENCE_POOL, bodies.pool())
    async with operators.running():
        engine = await until_asleep(kube, site)
    for text, (state, mib, asleep, gate) in STARTS.items():
        site.ask("default/p", int(wanted))
        await _set(kube, site, engine, state, mib, asleep, gate)
        async with operators.running() as world:

            def well(world: Any = world) -> bool:
                now = world.ledger("n1").holder(engine.uid).state
                if wanted:
                    return bool(now == "Awake" and site.gate_open(engine.uid) and not engine.asleep)
                return bool(now == "Asleep" and not site.gate_open(engine.uid) and engine.asleep)

            await site.until(well, text)
            charged = Ledger.from_dict((await kube.get(names.GPU_NODE, "n1"))["spec"]).gpus[0].claimed_mib
            assert charged == (AWAKE_MIB if wanted else ASLEEP_MIB)
    assert [pod["metadata"]["uid"] for pod in await engine_pods(kube)] == [engine.uid]


async def _set(kube: Kube, site: Any, engine: Any, state: str, mib: int, asleep: bool, gate: bool) -> None:
    engine.asleep = asleep
    watts = 0 if state == "Asleep" else 300
    change = partial(
        move, pod_uid=engine.uid, state=state, memory_mib=mib, watts=watts, at=timestamp(1_700_000_000)
    )
    if state != "Asleep":  # a state that is not new would not be written
        change = partial(change, at=site.stamp())
    assert isinstance(await write(site.scheduler, "n1", change), Written)
    shown = {"type": names.GATE_AWAKE, "status": str(gate), "lastTransitionTime": site.stamp()}
    (pod,) = await engine_pods(kube)
    await site.set_status(pod["metadata"]["name"], {"conditions": [shown]})
    site.touch()


async def test_reconciling_a_pool_twice_at_once_makes_one_pod(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    await kube.create(names.INFERENCE_POOL, bodies.pool())
    async with operators.running(work=False) as world:
        await asyncio.gather(*(reconcile_pool(world, "default/p") for _ in range(3)))
        await site.until(lambda: world.pods.store, "the pod is in the cache")
        await reconcile_pool(world, "default/p")
        assert len(await engine_pods(kube)) == 1


async def test_two_pools_whose_long_names_begin_alike_get_pods_of_their_own(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    for end in "ab":
        await kube.create(names.INFERENCE_POOL, bodies.pool("p" * 50 + end, model="same"))
    async with operators.running(work=False) as world:
        for end in "ab":
            await reconcile_pool(world, "default/" + "p" * 50 + end)
        assert len(await engine_pods(kube)) == 2


async def test_wakes_of_many_pools_do_not_wait_for_each_other(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    count = 6
    await site.node("n1", gpus=count)
    await site.router("n1")
    async with operators.running(workers=2) as world:
        for n in range(count):
            await kube.create(names.INFERENCE_POOL, bodies.pool(f"p{n}"))
        for n in range(count):
            await until_asleep(kube, site, f"p{n}")
        site.wakes.clear()
        site.ask(**{f"default/p{n}": 1 for n in range(count)})
        woken = list(site.engines.values())
        await site.until(lambda: sum("/wake_up" in e.calls for e in woken) == count, "all were called")
        assert not any(e.asleep is False for e in woken)  # none has answered: they are in it together
        site.wakes.set()
        await site.until(lambda: all(site.gate_open(e.uid) for e in woken), "all serve")
        assert world.notes.wake_count >= count  # more where a machine is so slow that a call times out
