"""Leadership: one acts at a time, and one whose time is over does nothing, whatever it still has to hand."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, NotFound, Object
from ingle_operator.fenced import FencedKube
from ingle_operator.leader import Leader, LeaseTimes, NotLeader
from ingle_operator.settings import OperatorSettings

TIMES = LeaseTimes(duration_s=2.0, renew_s=0.2, call_s=1.0)


def leader(kube: Kube, identity: str, **more: Any) -> Leader:
    return Leader(
        kube, namespace=names.SYSTEM_NAMESPACE, name="ingle-operator", identity=identity, times=TIMES, **more
    )


async def lease_of(kube: Kube) -> Object:
    try:
        found: Object = (await kube.get(names.LEASE, "ingle-operator", names.SYSTEM_NAMESPACE))["spec"]
    except NotFound:
        return {}
    return found


async def leads(one: Leader) -> asyncio.Task[None]:
    task = asyncio.ensure_future(one.run())
    await asyncio.wait_for(one.leading.wait(), 20)
    return task


async def test_a_standby_takes_over_when_the_lease_is_not_renewed_with_a_higher_epoch(
    kube: Kube, site: Any
) -> None:
    first, second = leader(kube, "a"), leader(kube, "b")
    task = await leads(first)
    standby = asyncio.ensure_future(second.run())
    task.cancel()  # dies without giving the lease up
    await asyncio.wait_for(second.leading.wait(), 20)
    assert first.valid_for_s() <= 0
    assert second.epoch == first.epoch + 1
    standby.cancel()


async def test_a_restarted_container_takes_its_own_lease_back_at_once(kube: Kube, site: Any) -> None:
    first, again = leader(kube, "pod_uid"), leader(kube, "pod_uid")
    (await leads(first)).cancel()
    task = asyncio.ensure_future(again.run())
    await asyncio.wait_for(again.leading.wait(), 20)
    assert first.valid_for_s() > 0  # the old lease had not run out
    assert again.epoch == first.epoch + 1
    task.cancel()


async def test_a_lease_given_up_is_taken_at_once(kube: Kube, site: Any) -> None:
    first, second = leader(kube, "a"), leader(kube, "b")
    task = await leads(first)
    task.cancel()
    standby = asyncio.ensure_future(second.run())
    await first.release()
    await asyncio.wait_for(second.leading.wait(), 20)
    assert first.valid_for_s() < 0
    standby.cancel()


async def test_a_leader_whose_clock_jumped_may_not_act_and_ends_when_another_has_taken_over(
    kube: Kube, site: Any
) -> None:
    jump = 0.0

    def clock() -> float:
        return asyncio.get_running_loop().time() + jump

    stopped = leader(kube, "a", clock=clock)
    task = await leads(stopped)
    stopped.check(1.0)
    jump = 60.0
    with pytest.raises(NotLeader):
        stopped.check(1.0)
    task.cancel()


async def test_no_write_is_sent_on_a_lease_that_is_shorter_than_the_write(
    plane: Any, kube: Kube, site: Any, bodies: Any
) -> None:
    one = leader(kube, "a")  # never led
    async with FencedKube(fence=one.check, write_limit_s=1.0, kubeconfig=str(plane.kubeconfig)) as fenced:
        with pytest.raises(NotLeader):
            await fenced.create(names.INFERENCE_POOL, bodies.pool())
        assert (await fenced.list(names.INFERENCE_POOL))[0] == []


def test_a_lease_too_short_for_its_renewals_is_refused() -> None:
    with pytest.raises(ValueError, match="INGLE_LEASE_DURATION_S"):
        OperatorSettings(lease_duration_s=3, lease_renew_s=2)


@pytest.mark.parametrize("mid_wake", [False, True], ids=["at rest", "in the middle of a wake"])
async def test_a_leader_that_was_stopped_does_nothing_when_it_goes_on_after_another_took_over(
    kube: Kube,
    site: Any,
    bodies: Any,
    process: Callable[[str], Any],
    audit: Callable[[], list[dict[str, Any]]],
    mid_wake: bool,
) -> None:
    await site.node("n1")
    await site.router("n1")
    await kube.create(names.INFERENCE_POOL, bodies.pool())
    first = process("first")
    await site.until(lambda: any(e.asleep for e in site.engines.values()), "its engine sleeps", 60)
    (engine,) = site.engines.values()
    epoch = (await lease_of(kube))["leaseTransitions"]
    second = process("second")
    await site.until(second.healthy, "the standby is up")
    assert (await lease_of(kube))["holderIdentity"] == first.identity

    if mid_wake:
        site.wakes.clear()
        site.ask("default/p", 1)
        await site.until(lambda: "/wake_up" in engine.calls, "it wakes the engine")
    os.kill(first.popen.pid, signal.SIGSTOP)
    site.ask("default/p", 2)  # what the stopped one finds in its sockets when it goes on

    async def taken_over() -> bool:
        return bool((await lease_of(kube))["holderIdentity"] == second.identity)

    await site.until(taken_over, "the standby leads")
    site.wakes.set()
    await site.until(lambda: site.gate_open(engine.uid), "the engine serves")
    assert (await lease_of(kube))["leaseTransitions"] > epoch
    site.ask("default/p", 0)
    await site.until(lambda: engine.asleep and not site.gate_open(engine.uid), "it sleeps again")
    calls = list(engine.calls)
    before = _writes_by(audit(), first)

    os.kill(first.popen.pid, signal.SIGCONT)
    await site.until(lambda: first.popen.poll() is not None, "the first one has ended")
    assert first.popen.returncode == 1
    assert engine.calls == calls
    assert calls.count("/sleep") == 2
    assert before
    assert _writes_by(audit(), first)[len(before) :] == []
    assert (await lease_of(kube))["holderIdentity"] == second.identity


def _writes_by(events: list[dict[str, Any]], one: Any) -> list[str]:
    """What this process wrote: each has a token of its own, so that the audit log tells them apart.

    A renewal of a lease that another holds is refused by its version: that is how the process learns of it.
    """
    written = [
        (e["verb"], e["requestURI"], (e.get("responseStatus") or {}).get("code"))
        for e in events
        if e["user"]["extra"]["authentication.kubernetes.io/credential-id"] == [one.credential]
    ]
    return [f"{verb} {uri}: {code}" for verb, uri, code in written if not (code == 409 and "/leases/" in uri)]
