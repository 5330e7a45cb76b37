"""Which GPUs of a partly used node are ours: from the kubelet's stand-in over the agent into the ledger."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingle_core.ledger import Ledger, PodRef, claim, move
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Refused, Written, write
from ingle_kit.objects import GpuMemory, GPUNodeStatus, GpuStatus, HeldBy
from ingle_lab.controlplane import ControlPlane
from ingle_lab.gpu import build_library, create_state
from ingle_lab.node import Config, NodeConfig, NodeProgram
from ingle_lab.stack.nodes import base_environment
from ingle_lab.stack.pods import IMAGE, agent_pod
from ingle_operator.reconcile.rebuild import taken_over

NODE, ADDRESS = "held-1", "127.58.0.1"
IMAGES = {"registry.k8s.io/pause:*": ["sleep", "infinity"], IMAGE: []}


@pytest.mark.parametrize(
    ("held_by", "on_managed", "elsewhere"),
    [
        (None, True, True),
        ("Holder", True, True),
        ("Nobody", False, True),
        ("Other", False, False),
        ("Unknown", False, False),
    ],
)
def test_the_ledger_has_no_room_on_gpus_that_are_not_ours(
    held_by: HeldBy | None, on_managed: bool, elsewhere: bool
) -> None:
    memory = GpuMemory(total=81920, reserved=1000, free=80920)
    gpu = GpuStatus(uuid="GPU-a", index=0, product="H100", memory_mib=memory, held_by=held_by)
    for managed, ours in ((True, on_managed), (False, elsewhere)):
        ops = taken_over(Ledger(), GPUNodeStatus(gpus=[gpu]), managed)
        after = next(op["value"] for op in ops if op["path"] == "/spec/gpus")
        assert [g["allocatableMiB"] for g in after] == [80920 if ours else 0]


@pytest.fixture
def scheduler(plane: ControlPlane) -> Iterator[None]:
    """kube-scheduler for pods that name no scheduler."""
    binary = Path(plane.kubectl).with_name("kube-scheduler")
    flags = [f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
    process = subprocess.Popen([binary, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    process.kill()
    process.wait()


@pytest.fixture
async def uuids(plane: ControlPlane, site: Any) -> AsyncIterator[list[str]]:
    """A node of eight GPUs that the device plugin's stand-in offers; gives their UUIDs."""
    state = plane.lab / f"{NODE}.state"
    uuids = create_state(state, "h100x8", NODE)
    env = {"LD_LIBRARY_PATH": str(build_library().parent), "INGLE_LAB_GPU_STATE": str(state)}
    env |= {"INGLE_POD_RESOURCES_SECONDS": "0.1", "INGLE_NUMA_ROOT": str(plane.lab / "no-numa")}
    node = NodeConfig(
        name=NODE,
        address=ADDRESS,
        kubeconfig=str(plane.node_kubeconfig(NODE)),
        env=base_environment() | env,
        gpus=uuids,
    )
    program = NodeProgram(Config(nodes=[node], images=IMAGES, lab_dir=str(plane.lab)))
    running = asyncio.create_task(program.run())
    await site.until(lambda: program.nodes, "the node program runs")
    await asyncio.wait_for(program.ready(), 20)
    yield uuids
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def label(kube: Kube, value: str | None) -> None:
    await kube.merge_patch(names.NODE, NODE, {"metadata": {"labels": {names.LABEL_MANAGED: value}}})


def training(gpus: int) -> Object:
    amount = {"nvidia.com/gpu": str(gpus)}
    container = {
        "name": "main",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": amount, "limits": amount},
    }
    metadata = {"name": "training", "namespace": "default"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def with_room(kube: Kube) -> list[str] | None:
    """GPUs of the ledger that may take claims; None while there is no ledger."""
    for node in (await kube.list(names.GPU_NODE))[0]:
        gpus = Ledger.from_dict(node["spec"]).gpus
        return [gpu.uuid for gpu in gpus if gpu.allocatable_mib] if gpus else None
    return None


async def claimed(site: Any, gpu: str) -> Written | Refused:
    pod = PodRef(f"on-{gpu}", "default/p")
    plan = partial(claim, pod=pod, gpus=[gpu], memory_mib=1000, watts=0, at=site.stamp())
    return await write(site.scheduler, NODE, plan)


async def test_of_a_partly_used_node_only_what_the_holder_got_takes_claims(
    kube: Kube, site: Any, operators: Any, scheduler: None, uuids: list[str]
) -> None:
    async def room(gpus: list[str]) -> None:
        async def so() -> bool:
            return await with_room(kube) == gpus

        await site.until(so, f"room on {gpus}")

    async def phase(name: str, namespace: str, wanted: str) -> None:
        async def so() -> bool:
            return bool((await kube.get(names.POD, name, namespace))["status"].get("phase") == wanted)

        await site.until(so, f"{name} is {wanted}")

    await kube.create(names.POD, training(3))
    await phase("training", "default", "Running")
    await label(kube, "5")
    await kube.create(names.POD, agent_pod(NODE, {}, pod_resources=True))
    async with operators.running(orphan_s=600):
        await room(uuids[3:])
        outcomes = [await claimed(site, gpu) for gpu in uuids]
        assert [isinstance(one, Written) for one in outcomes] == [False] * 3 + [True] * 5
        assert {one.field for one in outcomes if isinstance(one, Refused)} == {"spec.gpus"}
        # A cordon and an eviction, as a drain makes them: the holder goes, and nothing more may be claimed.
        await kube.merge_patch(names.NODE, NODE, {"spec": {"unschedulable": True}})
        selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_HOLDER}"
        (holder,) = (await kube.list(names.POD, names.SYSTEM_NAMESPACE, label_selector=selector))[0]
        name = holder["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await kube.request("POST", names.POD.path(names.SYSTEM_NAMESPACE, name, "eviction"), body=eviction)
        await room([])
        # Back, and without the label: all but those of the other pod.
        await kube.merge_patch(names.NODE, NODE, {"spec": {"unschedulable": None}})
        await room(uuids[3:])
        await label(kube, None)
        await site.until(lambda: _no_holder(kube, selector), "the holder is gone")
        await room(uuids[3:])
        assert isinstance(await claimed(site, uuids[0]), Refused)


async def _no_holder(kube: Kube, selector: str) -> bool:
    return not (await kube.list(names.POD, names.SYSTEM_NAMESPACE, label_selector=selector))[0]


async def test_an_engine_on_a_gpu_that_is_ours_no_more_stays_and_is_told_and_cannot_grow(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", labels={names.LABEL_MANAGED: "1"})
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(replicas={"min": 1, "max": 1}))
        await site.until(lambda: world.ledger("n1") and world.ledger("n1").pods, "an engine is placed")
        uid = world.ledger("n1").pods[0].uid
        await give_away(kube, "n1")

        async def told() -> list[Object]:
            events = (await kube.list(names.EVENT, "default"))[0]
            return [e for e in events if e["reason"] == "GPUNotHeld"]

        (event,) = await site.until(told, "an event on the pool")
        assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("InferencePool", "p")
        assert event["message"].endswith("GPU-n1-0: no holder pod has it")
        ledger = Ledger.from_dict((await kube.get(names.GPU_NODE, "n1"))["spec"])
        (gpu,) = ledger.gpus
        assert (gpu.allocatable_mib, [one.pod_uid for one in gpu.claims]) == (0, [uid])
        more = gpu.claims[0].memory_mib + 1
        grow = partial(move, pod_uid=uid, state="Waking", memory_mib=more, watts=0, at=site.stamp())
        assert isinstance(await write(site.scheduler, "n1", grow), Refused)


async def test_a_sleeper_moves_off_a_gpu_that_is_ours_no_more(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", labels={names.LABEL_MANAGED: "1"})
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool())

        def sleepers() -> set[str]:
            return {e.node for e in site.engines.values() if e.asleep and not site.gate_open(e.uid)}

        await site.until(lambda: sleepers() == {"n1"} and world.ledger("n1").pods, "it sleeps")
        (old,) = site.engines
        await site.node("n2")
        await give_away(kube, "n1")
        await site.until(lambda: sleepers() == {"n2"} and old not in site.engines, "it sleeps elsewhere")


async def give_away(kube: Kube, node: str) -> None:
    """As the agent tells it once no holder pod has the node's GPUs any more."""
    gpus = (await kube.get(names.GPU_NODE, node))["status"]["gpus"]
    patch = {"status": {"gpus": [gpu | {"heldBy": "Nobody"} for gpu in gpus]}}
    await kube.merge_patch(names.GPU_NODE, node, patch, subresource="status")
