"""Little is written, told and asked: nothing where nothing changes, few events, no secrets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_kit.objects.reasons import Reason
from ingle_operator.adapters.vllm import requests_in
from ingle_operator.status import EVENTS_MAX, tell

QUIET_S = 8.0


async def test_where_nothing_changes_nothing_is_written_and_no_settled_engine_is_asked(
    kube: Kube,
    site: Any,
    bodies: Any,
    process: Callable[[str], Any],
    audit: Callable[[], list[dict[str, Any]]],
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    await kube.create(names.INFERENCE_POOL, bodies.pool("sleeps"))
    await kube.create(names.INFERENCE_POOL, bodies.pool("serves", replicas={"min": 1, "max": 1}))
    one = process("one")

    def settled() -> bool:
        engines = list(site.engines.values())
        states = sorted((e.asleep, site.gate_open(e.uid)) for e in engines)
        return states == [(False, True), (True, False)]

    await site.until(settled, "one sleeps, one serves", 60)

    async def told() -> bool:
        pools = (await kube.list(names.INFERENCE_POOL))[0]
        return all(bodies.condition(p, "Reconciling").get("status") == "False" for p in pools)

    await site.until(told, "the pools say so")
    before, asked = len(_not_leases(audit())), [e.asked for e in site.engines.values()]
    end_s = time.monotonic() + QUIET_S  # the one thing that cannot be waited for is that nothing happens
    await asyncio.sleep(end_s - time.monotonic())
    assert [f"{e['verb']} {e['requestURI']}" for e in _not_leases(audit())[before:]] == []
    assert [e.asked for e in site.engines.values()] == asked
    assert one.token not in one.log.read_text()


def _not_leases(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for e in events if (e.get("objectRef") or {}).get("resource") != "leases"]


async def test_events_are_few_however_often_something_is_said(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    async with operators.running(work=False) as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("loud"))
        await site.until(lambda: world.pools.store, "the pool is known")
        (pool,) = world.pools.store.values()
        for n in range(50):
            await tell(world, names.INFERENCE_POOL, pool, Reason.INSUFFICIENT_MEMORY, f"{n} MiB short")
            await tell(world, names.INFERENCE_POOL, pool, Reason.WOKEN, "the same")
        events = [
            e for e in (await kube.list(names.EVENT, "default"))[0] if e["involvedObject"]["name"] == "loud"
        ]
        assert sum(e["reason"] == "Woken" for e in events) == 1
        assert sum(e["reason"] == "InsufficientMemory" for e in events) == EVENTS_MAX


async def test_the_status_of_a_busy_pool_is_written_at_a_bounded_rate(
    kube: Kube, site: Any, operators: Any, bodies: Any, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        await site.until(lambda: site.engines, "an engine runs")

        def count() -> int:
            return sum((e.get("objectRef") or {}).get("resource") == "inferencepools" for e in audit())

        before, started_s = count(), time.monotonic()
        for waiting in range(1, 60):
            site.ask("default/p", waiting)
            await asyncio.sleep(0.03)  # load that changes without end is what is tested
        passed_s = time.monotonic() - started_s
        assert count() - before <= 2 * passed_s + 2


def test_an_engine_that_does_not_say_how_much_runs_is_not_idle() -> None:
    assert requests_in('vllm:num_requests_running{model="a"} 2.0\nvllm:num_requests_waiting{} 1\n') == 3
    for text in ("", "vllm:num_requests_waiting_by_reason 3", "# HELP vllm:num_requests_running x"):
        try:
            requests_in(text)
        except ValueError:
            continue
        raise AssertionError(text)
