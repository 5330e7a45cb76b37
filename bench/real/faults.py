"""The extender killed, frozen or slow while pods are on their way: nothing is bound unchecked; what it costs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.real.audit import shared_gpus
from bench.real.bulk import say
from bench.real.burst import ready
from bench.real.objects import engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_most, told
from bench.real.site import Site
from bench.real.slow import slow_front

SLOW_S = 0.2
Fault = Callable[[PodWatch, list[str]], Awaitable[float]]


async def rows(site: Site, *, pods: int) -> list[Row]:
    """For each fault: pods bound unchecked, and the seconds that it added."""
    found: list[Row] = []
    plain_s, _ = await _run(site, pods, lambda watch, names: _nothing())
    against: dict[str, Any] = {"baseline": "no fault, first to last, s", "baseline_value": plain_s}
    blocked_s: list[float] = []
    for name, fault in (("dead", _dead(site)), ("hung", _hung(site, blocked_s))):
        all_s, unchecked = await _run(site, pods, fault)
        say(
            f"extender {name}: all {pods} bound {all_s:.2f} s after it is back; {plain_s:.2f} s without a fault"
        )
        found.append(at_most(f"{name}_bound_unchecked", unchecked, "pods", 0))
        found.append(told(f"{name}_back_to_all_bound_s", all_s, "s", **against))
    found.append(told("hung_one_call_given_up_s", blocked_s[0], "s"))
    return found + await _slow(site, pods, plain_s)


async def _run(site: Site, pods: int, fault: Fault, *, url: str | None = None) -> tuple[float, int]:
    """Seconds from the end of the fault until all are bound, and how many are bound without a sound claim."""
    await site.reset()
    await site.start_extender()
    await site.start_scheduler(url=url)
    names = [f"f{i:03d}" for i in range(pods)]
    async with PodWatch(site.kube) as watch:
        await ready(site, watch)
        started_s = time.monotonic()
        making = asyncio.create_task(site.bulk.make_pods(engine_pod(n) for n in names))
        ended_s = await fault(watch, names) or started_s
        await making
        await watch.until_bound(names, 120)
        all_s = max(watch.bound_at_s.values()) - ended_s
    audit = await site.bulk.audit()
    return all_s, audit.double_bookings + audit.leaked + shared_gpus(await site.bulk.pods())


async def _nothing() -> float:
    return 0.0


def _dead(site: Site) -> Fault:
    """kill -9 when some are bound; it comes back once the scheduler has met the gap."""

    async def fault(watch: PodWatch, names: list[str]) -> float:
        await watch.until(lambda: len(watch.bound(names)) >= 3, "3 pods bound", 60)
        await asyncio.to_thread(site.extender.end, 0.0)
        await watch.until(lambda: _failed(watch, names) > 0, "a pod that met the gap", 60)
        bound = len(watch.bound(names))
        await watch.until(
            lambda: _failed(watch, names) + len(watch.bound(names)) == len(names), "the rest", 60
        )
        if (
            len(watch.bound(names)) > bound + 1
        ):  # a Binding under way may still be seen after the first failure
            raise RuntimeError("pods are bound although the extender is dead")
        await site.start_extender()
        return time.monotonic()

    return fault


def _hung(site: Site, blocked_s: list[float]) -> Fault:
    """SIGSTOP when some are bound, SIGCONT once a call of the scheduler has run into its limit: for so long
    (`blocked_s`) nothing else is scheduled.
    """

    async def fault(watch: PodWatch, names: list[str]) -> float:
        await watch.until(lambda: len(watch.bound(names)) >= 3, "3 pods bound", 60)
        site.extender.signal(signal.SIGSTOP)
        stopped_s = time.monotonic()
        try:
            await watch.until(lambda: _failed(watch, names) > 0, "a pod whose call ran into the limit", 60)
        finally:
            site.extender.signal(signal.SIGCONT)
        blocked_s.append(time.monotonic() - stopped_s)
        return time.monotonic()

    return fault


def _failed(watch: PodWatch, names: list[str]) -> int:
    return sum(watch.pods[n].refusal is not None for n in watch.refused(names))


async def _slow(site: Site, pods: int, plain_s: float) -> list[Row]:
    """Every answer comes `SLOW_S` later."""
    async with slow_front(site.url, SLOW_S) as url:
        all_s, unchecked = await _run(site, pods, lambda watch, names: _nothing(), url=url)
    say(f"extender slow by {SLOW_S} s an answer: {pods} pods in {all_s:.2f} s, {plain_s:.2f} s without")
    against: dict[str, Any] = {"baseline": "each answer later by, s", "baseline_value": SLOW_S}
    return [
        at_most("slow_bound_unchecked", unchecked, "pods", 0),
        told("slow_added_delay_s", max(0.0, all_s - plain_s) / pods, "s/pod", **against),
    ]
