"""Changes of one process share a PATCH, against a real API server with the real rules."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingle_core.ledger import Ledger, PodRef, claim, move, set_allotment
from ingle_kit.kube import Kube, Object, Unavailable
from ingle_kit.ledger import Plan, Refused, Written
from ingle_kit.ledgerwriter import LedgerWriter
from ingle_kit.names import GPU_NODE

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster

AT = "2026-01-01T00:00:00Z"


class Site:
    """A writer that knows its own writes, as both the operator and the extender do."""

    def __init__(self, kube: Kube, known: Object) -> None:
        self.known, self.writes = known, 0
        self.writer = LedgerWriter(kube, current=lambda _: self.known, on_written=self.took)

    def took(self, _: str, obj: Object) -> None:
        self.known = obj
        self.writes += 1

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_dict(self.known["spec"])

    async def all(self, *plans: Plan) -> list[Written | Refused | BaseException]:
        return await asyncio.gather(*(self.writer.write("a", p) for p in plans), return_exceptions=True)


async def site_of(cluster: Cluster, **node: Any) -> Site:
    await cluster.node("a", **node)
    return Site(cluster.kube, await cluster.kube.get(GPU_NODE, "a"))


def claims(uid: str, memory_mib: int = 1000, watts: int = 0, gpu: str = "GPU-a-0") -> Plan:
    return partial(claim, pod=PodRef(uid, "a/b"), gpus=[gpu], memory_mib=memory_mib, watts=watts, at=AT)


def outcomes(found: list[Written | Refused | BaseException]) -> list[str]:
    return ["in" if isinstance(f, Written) else getattr(f, "reason", repr(f)) for f in found]


async def test_what_waits_while_one_write_is_on_its_way_goes_out_together(cluster: Cluster) -> None:
    site = await site_of(cluster)
    found = await site.all(*(claims(f"pod-{i}") for i in range(12)))
    assert outcomes(found) == ["in"] * 12
    assert len(site.ledger.pods) == 12
    assert site.writes == 2  # the first alone, the eleven that came meanwhile as one
    assert (await cluster.ledger("a"))["revision"] == 3


async def test_what_does_not_fit_is_refused_by_itself(cluster: Cluster) -> None:
    site = await site_of(cluster, mib=5000)
    plans = [claims("first", 1000), claims("big", 4500), claims("small", 2000), claims("no", 1, gpu="GPU-x")]
    found = await site.all(*plans, claims("last", 2000), claims("over", 1))
    assert outcomes(found) == ["in", "InsufficientMemory", "in", "UnknownGPU", "in", "InsufficientMemory"]
    assert [pod.uid for pod in site.ledger.pods] == ["first", "small", "last"]


async def test_a_change_sees_those_before_it(cluster: Cluster) -> None:
    site = await site_of(cluster, watts=500)
    sleeps = partial(move, pod_uid="one", state="Asleep", memory_mib=10, watts=0, at=AT)
    found = await site.all(
        claims("one", watts=500),
        sleeps,
        claims("two", watts=400),
        partial(set_allotment, watts=450, safe=None),
    )
    assert outcomes(found) == ["in"] * 4
    assert (site.ledger.watts_allotted, site.ledger.gpus[0].claimed_watts) == (450, 400)


async def test_together_never_more_than_each_alone(cluster: Cluster) -> None:
    """A step between may need more than the end allows: then each goes alone, and the API server judges it."""
    site = await site_of(cluster, watts=500)
    lowered = partial(set_allotment, watts=300, safe=None)
    found = await site.all(partial(set_allotment, watts=480, safe=None), claims("one", watts=450), lowered)
    assert outcomes(found) == ["in"] * 3
    assert (site.ledger.watts_allotted, site.ledger.gpus[0].claimed_watts) == (300, 450)


async def test_a_stale_copy_costs_a_second_look_and_nothing_else(cluster: Cluster) -> None:
    site = await site_of(cluster)
    other = Site(cluster.kube, site.known)
    await other.all(claims("foreign", 70000))
    found = await site.all(claims("a", 5000), claims("b", 4000), claims("c", 4000))
    assert outcomes(found) == ["in", "in", "InsufficientMemory"]
    assert [pod.uid for pod in site.ledger.pods] == ["foreign", "a", "b"]


async def test_repeated_changes_write_once(cluster: Cluster) -> None:
    site = await site_of(cluster)
    found = await site.all(*[claims("pod")] * 5)
    assert outcomes(found) == ["in"] * 5
    assert (await cluster.ledger("a"))["revision"] == 2


async def test_whoever_is_cancelled_holds_up_nobody(cluster: Cluster) -> None:
    site = await site_of(cluster)
    tasks = [asyncio.create_task(site.writer.write("a", claims(f"pod-{i}"))) for i in range(6)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[3].cancel()
    async with asyncio.timeout(10):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [i for i, f in enumerate(found) if isinstance(f, Written)] == [1, 2, 4, 5]
    assert {f"pod-{i}" for i in (1, 2, 4, 5)} <= {pod.uid for pod in site.ledger.pods}
    assert not site.writer._waiting


async def test_nobody_hears_success_of_what_may_not_have_been_made(cluster: Cluster, tmp_path: Path) -> None:
    site = await site_of(cluster)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    named: dict[str, Any] = {"clusters": [{"name": "x", "cluster": {"server": address}}]}
    named |= {"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(json.dumps(named | {"users": [{"name": "x", "user": {}}]}))
    async with Kube.connect(user_agent="test", kubeconfig=str(tmp_path / "kubeconfig")) as closed:
        lost = LedgerWriter(closed, current=lambda _: site.known, on_written=site.took)
        found = await asyncio.gather(
            *(lost.write("a", claims(f"pod-{i}")) for i in range(3)), return_exceptions=True
        )
    assert all(isinstance(f, Unavailable) for f in found)
    server.close()
