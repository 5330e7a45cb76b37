"""`ingle_kit.ledger.write` against a real API server with the real rules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from ingle_core.ledger import PodRef, claim, move, release, set_allotment
from ingle_kit import names
from ingle_kit.ledger import Refused, Written, write

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster

POD, AT = PodRef("pod-1", "a/b"), "2026-01-01T00:00:00Z"
claim_one = partial(claim, pod=POD, gpus=["GPU-a-0"], memory_mib=40000, watts=300, at=AT)


async def test_a_change_is_written_once_and_found_the_second_time(cluster: Cluster) -> None:
    await cluster.node("a")
    first = await write(cluster.kube, "a", claim_one)
    assert isinstance(first, Written)
    assert (first.changed, first.ledger.revision) == (True, 2)
    second = await write(cluster.kube, "a", claim_one, current=first.obj)
    assert isinstance(second, Written)
    assert (second.changed, second.ledger) == (False, first.ledger)


async def test_a_stale_copy_is_read_again(cluster: Cluster) -> None:
    await cluster.node("a")
    stale = await cluster.kube.get(names.GPU_NODE, "a")
    await write(cluster.kube, "a", partial(set_allotment, watts=900, safe=None))
    waits: list[int] = []

    def jitter(n: int) -> float:
        waits.append(n)
        return 0.0

    done = await write(cluster.kube, "a", claim_one, current=stale, jitter=jitter)
    assert isinstance(done, Written)
    assert (done.conflicts, waits, done.ledger.watts_allotted) == (1, [1], 900)
    again = await write(
        cluster.kube, "a", partial(set_allotment, watts=800, safe=None), current=stale, attempts=1
    )
    assert isinstance(again, Refused)
    assert again.reason == "Conflicted"


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"memory_mib": 80001}, "InsufficientMemory", "spec.gpus"),
        ({"watts": 501}, "InsufficientWatts", "spec.wattsAllotted"),
        ({"host_zone": 0, "host_mib": 100001}, "InsufficientHostMemory", "spec.zones"),
        ({"gpus": ["GPU-x"]}, "UnknownGPU", ""),
        ({"at": "yesterday"}, "Invalid", "spec.pods[0].at"),
    ],
)
async def test_a_refusal_names_the_rule_and_the_field(
    cluster: Cluster, changes: dict[str, object], reason: str, field: str
) -> None:
    await cluster.node("a", watts=500)
    refused = await write(cluster.kube, "a", partial(claim_one, **changes))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.field) == (reason, field)
    assert (await cluster.ledger("a"))["revision"] == 1


async def test_the_life_of_a_claim_also_under_a_cut_allotment(cluster: Cluster) -> None:
    await cluster.node("a", watts=500)
    assert isinstance(await write(cluster.kube, "a", claim_one), Written)
    cut = partial(set_allotment, watts=150, safe=120)
    assert isinstance(await write(cluster.kube, "a", cut), Written)
    asleep = partial(move, pod_uid=POD.uid, state="Asleep", memory_mib=1000, watts=0, at=AT)
    assert isinstance(await write(cluster.kube, "a", asleep), Written)
    woken = await write(cluster.kube, "a", partial(asleep, state="Waking", memory_mib=40000, watts=300))
    assert isinstance(woken, Refused)
    assert woken.reason == "InsufficientWatts"
    gone = await write(cluster.kube, "a", partial(release, pod_uid=POD.uid))
    assert isinstance(gone, Written)
    assert gone.ledger.pods == ()


async def test_a_node_without_a_ledger_is_a_refusal(cluster: Cluster) -> None:
    refused = await write(cluster.kube, "nowhere", claim_one)
    assert isinstance(refused, Refused)
    assert refused.reason == "NoGPUNode"
