"""A GPU split by MIG: its instances are GPUs of their own, its watts stay with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingle_agent.attached import on_wrong_gpu
from ingle_agent.device import GpuProcess, GpuSample, GpuShape
from ingle_agent.ledger import ledger_of
from ingle_core.facts import Columns, GpuNode, node_facts
from ingle_core.ledger import Ledger, applied
from ingle_core.placement import Ask, AskMemory, rank
from ingle_kit.objects import GPUNodeStatus
from ingle_lab.gpu import Slot
from ingle_operator.reconcile.rebuild import taken_over

GIB = 1024**3
UID = "44444444-4444-4444-4444-444444444444"


async def test_instances_are_reported_with_their_parent_and_limited_through_it(
    make_node: Callable[..., Any], until: Any
) -> None:
    node = make_node("h100x4-mig")
    node.start(INGLE_SAMPLE_SECONDS="0.05")
    await node.create(revision=1)
    gpus = (await node.observed(1))["gpus"]
    assert [gpu["uuid"] for gpu in gpus[:4]] == node.uuids[:4]
    whole, parts = gpus[3], gpus[4:]
    assert [gpu["mig"] for gpu in gpus] == [False, False, False, True, *[False] * 4]
    assert {part["parent"] for part in parts} == {whole["uuid"]}
    assert sorted(part["memoryMiB"]["total"] for part in parts) == [9984, 9984, 20090, 40448]
    assert {part["product"] for part in parts} == {
        f"NVIDIA H100 80GB HBM3 MIG {size}" for size in ("1g.10gb", "2g.20gb", "3g.40gb")
    }
    assert {(part["numa"], part["pcie"]) for part in parts} == {(1, whole["pcie"])}
    assert {gpu["watts"].get("max", 0) for gpu in parts} == {0}
    big = next(part for part in parts if part["memoryMiB"]["total"] == 40448)
    with Slot(node.state, [big["uuid"]]) as slot:
        slot.hold(8 * GIB)
        slot.draw(300)

        async def seen() -> bool:
            message = await anext(node.messages())
            by_uuid = {gpu["uuid"]: gpu for gpu in message["gpus"]}
            free = [by_uuid[uuid]["memory_free_mib"] for uuid in (whole["uuid"], big["uuid"])]
            return free == [81920 - 1024 - 8192, 40448 - 8192] and by_uuid[whole["uuid"]]["draw_w"] > 300

        await until(seen, "8 GiB and the watts of the instance are seen on the GPU too")
    await node.change(revision=2, allotted=1200, claims={3: [(UID, 0, 400)]})
    await node.observed(2)
    assert node.limits() == [200, 200, 200, 400, 0, 0, 0, 0]


async def test_an_ask_that_fits_an_instance_is_placed_on_the_smallest_that_holds_it(
    make_node: Callable[..., Any],
) -> None:
    node = make_node("h100x4-mig")
    node.start()
    await node.create(revision=1)
    read = await node.observed(1)
    ledger = Ledger(revision=1)
    ledger = applied(ledger, taken_over(ledger, GPUNodeStatus.model_validate(read), managed=False))
    columns = Columns()
    seen = GpuNode.from_dict({"metadata": {"name": "n"}, "spec": ledger.to_dict(), "status": read})
    columns.update("n", node_facts(seen, heard_at_s=0.0))
    sizes = {gpu["uuid"]: gpu["memoryMiB"]["total"] for gpu in read["gpus"]}
    for asked_mib, size_mib in ((9000, 9984), (18_000, 20_090), (40_000, 40_448), (60_000, 81_920)):
        chosen = rank(Ask(AskMemory(awake=asked_mib)), columns, now_s=0.0)
        assert [sizes[uuid] for uuid in chosen.gpus] == [size_mib]
        assert node.uuids[3] not in chosen.gpus


def test_a_pod_on_an_instance_that_is_not_its_own_is_found() -> None:
    def shape(uuid: str, parent: str = "", mig: bool = False) -> GpuShape:
        return GpuShape(uuid, 0, "H100", "", 0, (), 0, 0, 0, mig, parent)

    shapes = [shape("GPU-a", mig=True), shape("MIG-a", "GPU-a"), shape("MIG-b", "GPU-a")]
    processes = ((7,), (), (7,))
    samples = [
        GpuSample(s.uuid, processes=tuple(GpuProcess(pid, GIB) for pid in pids))
        for s, pids in zip(shapes, processes, strict=True)
    ]
    entry = {"allocatableMiB": 9000, "floorWatts": 0, "parent": "GPU-a"}
    claim = {"podUID": UID, "memoryMiB": 4096, "watts": 0}
    gpus = [
        {"uuid": "GPU-a", "allocatableMiB": 0, "floorWatts": 100, "claims": []},
        {"uuid": "MIG-a", **entry, "claims": [claim]},
        {"uuid": "MIG-b", **entry, "claims": []},
    ]
    ledger = ledger_of(
        {"metadata": {"uid": "u"}, "spec": {"revision": 1, "gpus": gpus, "zones": [], "pods": []}}
    )
    [found] = on_wrong_gpu(shapes, samples, {7: UID}, ledger)
    assert found.message == f"pod {UID} uses MIG-b, its GPUs are MIG-a"
