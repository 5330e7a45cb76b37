"""What stays awake without requests, what is made ready by the clock, and which sleepers are too many."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from ingle_core.placement import TEXTS
from ingle_core.placement import Reason as NodeReason
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator.reconcile.residues import FOUND_TIMES, reconcile_residues
from ingle_operator.reconcile.wakeslots import reconcile_wake_slots
from ingle_operator.roomfacts import loads_of, tenants_of
from ingle_operator.world import ALL

LONG = {"asleep": 1, "idleSeconds": 3600}


def engine_of(site: Any, pool: str) -> Any:
    return next((e for e in site.engines.values() if e.pool == pool), None)


async def serving(site: Any, pool: str) -> Any:
    """An engine of the pool once it takes requests."""

    def found() -> Any:
        return next((e for e in site.engines.values() if e.pool == pool and site.gate_open(e.uid)), None)

    return await site.until(found, f"{pool} serves")


async def test_a_prewarm_wakes_a_sleeper_and_a_schedule_that_cannot_be_read_changes_nothing(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        await site.until(lambda: any(e.asleep for e in site.engines.values()), "it sleeps")

        async def schedule(cron: str) -> None:
            warm = {"prewarm": [{"cron": cron, "zone": "Europe/Berlin"}]}
            await kube.merge_patch(names.INFERENCE_POOL, "p", {"spec": {"warm": warm}}, "default")

        await schedule("* * * * *")
        engine = await serving(site, "p")
        await schedule("61 * * * *")

        async def refused() -> Any:
            pool = await kube.get(names.INFERENCE_POOL, "p", "default")
            accepted = bodies.condition(pool, "Accepted")
            return accepted if accepted.get("status") == "False" else None

        accepted = await site.until(refused, "the schedule is refused")
        assert accepted["reason"] == "InvalidSpec"
        assert "warm.prewarm" in accepted["message"]
        assert "61 * * * *" in accepted["message"]
        assert not engine.asleep


async def test_greedy_dual_holds_what_was_used_while_fixed_lets_it_sleep(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running():
        for kind in ("GreedyDual", "Fixed"):
            warm = {"asleep": 1, "idleSeconds": 1, "keepAlive": kind}
            await kube.create(names.INFERENCE_POOL, bodies.pool(kind.lower(), warm=warm))
        for pool in ("greedydual", "fixed"):
            site.ask(f"default/{pool}", 1)
            await serving(site, pool)
            site.ask(f"default/{pool}", 0)
        fixed = await serving(site, "fixed")
        await site.until(lambda: fixed.asleep, "what was used last sleeps")
        assert not (await serving(site, "greedydual")).asleep


async def test_of_pools_whose_strategy_tells_worth_the_least_used_gives_way(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    always = {"min": 1, "max": 1}
    async with operators.running() as world:
        for name in ("often", "once"):
            warm = LONG | {"keepAlive": "GreedyDual"}
            body = bodies.pool(name, warm=warm, replicas=always, priority="Low")
            await kube.create(names.INFERENCE_POOL, body)
        often, once = [await serving(site, name) for name in ("often", "once")]
        now_s = time.time()
        world.started_at_s = now_s - 3600  # as if it had seen them idle for so long
        world.notes.busy_at_s |= {often.uid: now_s - 900, once.uid: now_s - 300}

        def chances() -> list[float]:
            found = {t.uid: t.chance for t in tenants_of(world, loads_of(world), now_s)}
            return [found[often.uid], found[once.uid]]

        lower, higher = chances()
        assert lower < higher
        for minutes in (20, 15):
            world.keepalives.used("GreedyDual", "default/often", 1, now_s - 60 * minutes)
        world.keepalives.used("GreedyDual", "default/once", 1, now_s - 300)
        assert chances() == [higher, lower]
        site.places, site.refusal = False, f"0/1 nodes: 1 {TEXTS[NodeReason.INSUFFICIENT_MEMORY]}."
        await kube.create(names.INFERENCE_POOL, bodies.pool("wanted", replicas=always))
        await serving(site, "wanted")
        assert (often.asleep, once.asleep) == (False, True)
        world.keepalives.used("GreedyDual", "default/new", 1, now_s)
        assert (
            world.keepalives.worth("GreedyDual", "default/new", 0, now_s) == 2
        )  # the clock has the victim's 1


async def test_a_sleeper_above_the_share_of_its_gpu_stops_as_far_as_its_pools_floor_allows(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running(residue_percent=1) as world:
        await kube.create(
            names.INFERENCE_POOL, bodies.pool(replicas={"max": 2}, warm={"asleep": 2, "idleSeconds": 1})
        )
        await site.until(lambda: [e.asleep for e in site.engines.values()] == [True] * 2, "both sleep")
        await kube.merge_patch(names.INFERENCE_POOL, "p", {"spec": {"warm": LONG}}, "default")

        async def one_left() -> bool:
            for _ in range(FOUND_TIMES):
                await reconcile_residues(world, ALL)
            return len(site.engines) == 1

        await site.until(one_left, "the one above the floor stops")
        await reconcile_residues(world, ALL)
        assert not world.notes.surplus


async def test_what_keep_alive_holds_sleeps_ahead_where_a_sleeper_beside_it_could_not_wake_at_once(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    """A GPU has room for one awake."""
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        for pool in ("used", "beside"):
            warm = {"asleep": 1, "idleSeconds": 1, "keepAlive": "GreedyDual"}
            await kube.create(names.INFERENCE_POOL, bodies.pool(pool, warm=warm))
            mine = partial(engine_of, site, pool)
            await site.until(lambda mine=mine: mine() is not None and mine().asleep, f"{pool} sleeps")
        site.ask("default/used", 1)
        used = await serving(site, "used")
        site.ask("default/used", 0)

        world.settings.sleep_ahead = False
        assert await reconcile_wake_slots(world, ALL) is None
        world.settings.sleep_ahead = True

        async def asleep() -> bool:
            world.notes.sleep_ms[used.uid] = 2000  # as on an H100; the site's engines sleep at once
            await reconcile_wake_slots(world, ALL)
            return bool(used.asleep)

        await site.until(asleep, "what is held sleeps, though nobody asks for the other")
        assert not world.notes.gives_way
        assert world.notes.makes_room.keys() <= {used.uid}
        site.ask("default/beside", 1)
        await serving(site, "beside")
        assert not world.notes.gives_way
