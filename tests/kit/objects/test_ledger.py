"""The ledger's rules, kept by the API server itself: GPU memory, host memory, watts, revision, and races."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from ingle_kit.kube import Invalid, KubeError, Object
from ingle_kit.names import GPU_NODE
from ingle_kit.objects import GpuClaim, GPUNodeSpec, HostClaim, LedgerGpu, LedgerPod, LedgerZone, dump

_names = (f"gpu-{i}" for i in itertools.count())
MEMORY = "claims on a GPU exceed its allocatableMiB: claim less, or another GPU, or release claims first"
HOST = "claims in a NUMA zone exceed its allocatableMiB of host memory: claim less or release claims first"
WATTS = "watts claimed on the node exceed wattsAllotted: claim less, release claims, or raise the PowerBudget"
REVISION = "revision must grow with every change of gpus, zones or pods: read the object again and add 1"


class Ledger:
    """One GPUNode on the server; patches test the revision first, as every writer does."""

    def __init__(self, server: Any, spec: GPUNodeSpec) -> None:
        self.server, self.name = server, next(_names)
        body = {"apiVersion": "ingle.dev/v1alpha1", "kind": "GPUNode", "metadata": {"name": self.name}}
        server.run(server.kube.create(GPU_NODE, body | {"spec": dump(spec)}))

    @property
    def spec(self) -> Object:
        found: Object = self.server.run(self.server.kube.get(GPU_NODE, self.name))["spec"]
        return found

    def patch(self, *changes: Object, revision: int | None = None, grow: bool = True) -> None:
        known = self.spec["revision"] if revision is None else revision
        ops: list[Object] = [{"op": "test", "path": "/spec/revision", "value": known}]
        if grow:
            ops.append({"op": "replace", "path": "/spec/revision", "value": known + 1})
        self.server.run(self.server.kube.json_patch(GPU_NODE, self.name, [*ops, *changes]))

    def refused(self, message: str, *changes: Object, **how: Any) -> str:
        before = self.spec
        with pytest.raises(Invalid) as problem:
            self.patch(*changes, **how)
        assert message in [cause.message.split(": ", 1)[1] for cause in problem.value.causes]
        assert self.spec == before
        return problem.value.causes[0].field


def claim(gpu: int, mib: int, watts: int, uid: str = "b") -> Object:
    value = {"podUID": uid, "memoryMiB": mib, "watts": watts}
    return {"op": "add", "path": f"/spec/gpus/{gpu}/claims/-", "value": value}


def host_claim(mib: int) -> Object:
    return {"op": "add", "path": "/spec/zones/0/claims/-", "value": {"podUID": "b", "memoryMiB": mib}}


def put(path: str, value: Any) -> Object:
    return {"op": "add", "path": f"/spec/{path}", "value": value}


def two_gpus(watts_allotted: int | None = 1000) -> GPUNodeSpec:
    """GPU a holds 42000 of 79000 MiB and 500 W, GPU b nothing; floors 100 W each, zone 0 holds 17000 of 40000 MiB."""
    held = GpuClaim(pod_uid="a", memory_mib=42000, watts=500)
    return GPUNodeSpec(
        revision=7,
        watts_allotted=watts_allotted,
        gpus=[
            LedgerGpu(uuid="GPU-a", allocatable_mib=79000, floor_watts=100, claims=[held]),
            LedgerGpu(uuid="GPU-b", allocatable_mib=79000, floor_watts=100),
        ],
        zones=[LedgerZone(zone=0, allocatable_mib=40000, claims=[HostClaim(pod_uid="s", memory_mib=17000)])],
        pods=[LedgerPod(uid="a", pool="chat/llama", state="Awake", epoch=1, at="2026-01-01T00:00:00Z")],
    )


@pytest.fixture
def ledger(server: Any) -> Iterator[Ledger]:
    made = Ledger(server, two_gpus())
    yield made
    server.run(server.kube.delete(GPU_NODE, made.name))


def test_memory_that_fits_exactly_is_claimed_and_one_mib_more_is_refused(ledger: Ledger) -> None:
    assert ledger.refused(MEMORY, claim(0, 37001, 0)) == "spec.gpus"
    ledger.patch(claim(0, 37000, 0))


def test_host_memory_that_fits_exactly_is_claimed_and_one_mib_more_is_refused(ledger: Ledger) -> None:
    assert ledger.refused(HOST, host_claim(23001)) == "spec.zones"
    ledger.patch(host_claim(23000))


def test_a_gpu_without_claims_is_charged_its_floor_and_a_busy_one_its_claims(ledger: Ledger) -> None:
    assert ledger.refused(WATTS, claim(1, 1, 501)) == "spec.wattsAllotted"
    ledger.patch(claim(1, 1, 500))


def test_watts_below_the_floor_cost_nothing_more(ledger: Ledger) -> None:
    ledger.patch(put("wattsAllotted", 600))
    ledger.patch(claim(1, 1, 100))
    ledger.refused(WATTS, claim(1, 1, 1, uid="c"))


def test_without_an_allotment_watts_are_free(server: Any) -> None:
    Ledger(server, two_gpus(watts_allotted=None)).patch(claim(1, 1, 1_000_000))


@pytest.mark.parametrize(
    ("what", "message", "grow"),
    [
        (put("gpus/0/allocatableMiB", 1000), MEMORY, claim(0, 1, 0)),
        (put("zones/0/allocatableMiB", 1000), HOST, host_claim(1)),
        (put("wattsAllotted", 300), WATTS, claim(0, 1, 1)),
    ],
    ids=["gpu memory", "host memory", "watts"],
)
def test_an_allotment_may_fall_below_the_claims_but_they_may_not_grow_then(
    ledger: Ledger, what: Object, message: str, grow: Object
) -> None:
    ledger.patch(what)
    ledger.refused(message, grow)
    ledger.patch(put("pods/0/state", "Sleeping"))


def test_claims_may_shrink_while_they_are_still_over(ledger: Ledger) -> None:
    ledger.patch(put("gpus/0/allocatableMiB", 1000), put("wattsAllotted", 300))
    ledger.patch(put("gpus/0/claims/0/memoryMiB", 30000), put("gpus/0/claims/0/watts", 400))


def test_claims_over_the_allotment_may_not_move_to_a_gpu_without_room(ledger: Ledger) -> None:
    ledger.patch(put("gpus/0/allocatableMiB", 1000), put("gpus/1/allocatableMiB", 1000))
    ledger.refused(MEMORY, put("gpus/0/claims", []), claim(1, 42000, 500, uid="a"))


@pytest.mark.parametrize(
    "what", [claim(1, 1, 1), host_claim(1), put("pods/0/state", "Stopping")], ids=["gpus", "zones", "pods"]
)
def test_the_ledger_does_not_change_without_a_higher_revision(ledger: Ledger, what: Object) -> None:
    assert ledger.refused(REVISION, what, grow=False) == "spec.revision"
    ledger.refused(REVISION, what, put("revision", 6), grow=False)


def test_the_revision_does_not_fall(ledger: Ledger) -> None:
    ledger.refused(REVISION, put("revision", 6), grow=False)


def test_an_allotment_alone_needs_no_revision(ledger: Ledger) -> None:
    ledger.patch(put("wattsAllotted", 800), put("wattsSafe", 700), grow=False)


def test_an_oversold_ledger_cannot_be_created(server: Any) -> None:
    spec = dump(two_gpus())
    spec["gpus"][0]["claims"][0]["memoryMiB"] = 79001
    assert MEMORY in server.refusal(GPU_NODE, spec).message
    assert WATTS in server.refusal(GPU_NODE, dump(two_gpus(watts_allotted=599))).message


def test_a_stale_revision_is_told_apart_from_a_refusal_by_its_empty_causes(ledger: Ledger) -> None:
    with pytest.raises(KubeError) as problem:
        ledger.patch(claim(1, 1, 1), revision=3)
    assert problem.value.causes == ()


def test_of_twenty_racers_for_the_same_revision_one_wins(ledger: Ledger) -> None:
    async def race() -> list[BaseException | Object]:
        ops = [
            {"op": "test", "path": "/spec/revision", "value": 7},
            {"op": "replace", "path": "/spec/revision", "value": 8},
        ]
        calls = [
            ledger.server.kube.json_patch(GPU_NODE, ledger.name, [*ops, claim(1, 60000, 1, uid=f"racer-{i}")])
            for i in range(20)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = ledger.server.run(race())
    assert sum(isinstance(result, dict) for result in results) == 1
    assert all(isinstance(result, dict | KubeError) for result in results)
    assert len(ledger.spec["gpus"][1]["claims"]) == 1


def test_racers_that_read_again_never_oversell(ledger: Ledger) -> None:
    async def racer(uid: str) -> bool:
        kube = ledger.server.kube
        for _ in range(60):
            known = (await kube.get(GPU_NODE, ledger.name))["spec"]["revision"]
            ops = [
                {"op": "test", "path": "/spec/revision", "value": known},
                {"op": "replace", "path": "/spec/revision", "value": known + 1},
            ]
            try:
                await kube.json_patch(GPU_NODE, ledger.name, [*ops, claim(1, 20000, 10, uid=uid)])
            except KubeError as error:
                if any(MEMORY in cause.message for cause in error.causes):
                    return False
            else:
                return True
        raise AssertionError(f"{uid} never got its turn")

    async def race() -> list[bool]:
        return await asyncio.gather(*(racer(f"racer-{i}") for i in range(8)))

    assert sum(ledger.server.run(race())) == 3
    assert sum(held["memoryMiB"] for held in ledger.spec["gpus"][1]["claims"]) == 60000


def test_status_writes_do_not_disturb_the_ledger(ledger: Ledger) -> None:
    known = ledger.spec["revision"]
    ledger.server.run(
        ledger.server.kube.merge_patch(
            GPU_NODE, ledger.name, {"status": {"bootID": "b", "gpus": []}}, subresource="status"
        )
    )
    ledger.patch(claim(1, 1, 1), revision=known)


def test_a_full_node_is_within_what_the_server_computes(server: Any) -> None:
    def gpu(i: int) -> LedgerGpu:
        claims = [GpuClaim(pod_uid=f"{i:02d}-{j:02d}" * 7, memory_mib=1000, watts=10) for j in range(32)]
        return LedgerGpu(uuid=f"GPU-{i:036d}", allocatable_mib=32000, floor_watts=100, claims=claims)

    full = Ledger(server, GPUNodeSpec(revision=1, watts_allotted=5120, gpus=[gpu(i) for i in range(16)]))
    full.refused(MEMORY, put("gpus/3/claims/0/memoryMiB", 1001))
    full.patch(put("gpus/3/claims/0/memoryMiB", 999))
