"""Ways in which GPUs come into a container: one test a driver; and engines that sit elsewhere than they should."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ingle_core.placement import ask_from_annotation
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_operator.attach import DRIVERS
from ingle_operator.parse import pool_of
from ingle_operator.reconcile.nodes import reconcile_node
from ingle_operator.render import engine_pod
from ingle_operator.settings import OperatorSettings

GPUS = {"fieldRef": {"fieldPath": "metadata.annotations['ingle.dev/gpus']"}}


def rendered(bodies: Any, spec: dict[str, Any] | None = None, **settings: Any) -> Object:
    body = bodies.pool(**(spec or {}))
    body["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    pool = pool_of(body)
    assert pool.spec is not None
    chosen = OperatorSettings(**settings)
    return engine_pod(pool, pool.spec, pool.spec.variants[0], "p-0", chosen.attachment, chosen.launcher)


def variables(pod: Object) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in pod["spec"]["containers"][0]["env"]}


def test_runtime_class_env_reads_the_gpus_of_the_binding_into_both_variables(bodies: Any) -> None:
    pod = rendered(bodies, runtime_class="nvidia")
    assert pod["spec"]["runtimeClassName"] == "nvidia"
    found = variables(pod)
    assert (found["NVIDIA_VISIBLE_DEVICES"], found["CUDA_VISIBLE_DEVICES"]) == (GPUS, GPUS)
    assert "gpuAnnotation" not in orjson.loads(pod["metadata"]["annotations"][names.ANNOTATION_PLACEMENT])


def test_without_a_runtime_class_the_nodes_default_is_used(bodies: Any) -> None:
    assert "runtimeClassName" not in rendered(bodies)["spec"]


def test_cdi_asks_the_binder_for_device_names_and_keeps_the_images_own_wish_out(bodies: Any) -> None:
    pod = rendered(bodies, attach="CDI")
    found = variables(pod)
    assert (found["NVIDIA_VISIBLE_DEVICES"], found["CUDA_VISIBLE_DEVICES"]) == ("void", GPUS)
    ask = ask_from_annotation(pod["metadata"]["annotations"][names.ANNOTATION_PLACEMENT])
    assert ask.gpu_annotation is not None
    assert ask.gpu_annotation.key == "cdi.k8s.io/ingle_gpus"
    assert ask.gpu_annotation.value(["GPU-a", "GPU-b"]) == "nvidia.com/gpu=GPU-a,nvidia.com/gpu=GPU-b"


def test_every_driver_can_be_chosen_and_no_other_name(bodies: Any) -> None:
    for name in DRIVERS:
        assert rendered(bodies, attach=name)["spec"]["containers"]
    with pytest.raises(ValueError, match="attach"):
        OperatorSettings(attach="Magic")


async def test_the_launcher_runs_in_front_of_what_the_image_starts(
    bodies: Any, kube: Kube, account: Any
) -> None:
    pod = rendered(bodies, launcher_image="ours:1", launcher_command="python3 -m engine")
    (init,), (engine,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert (init["image"], init["command"]) == ("ours:1", ["ingle-launch", "--install", "/ingle/launch.py"])
    assert engine["command"] == ["python3", "/ingle/launch.py", "--", "python3", "-m", "engine"]
    assert engine["args"][:2] == ["--model", "model-p"]
    assert variables(pod)["INGLE_GPUS"] == GPUS
    del pod["metadata"]["ownerReferences"]

    async def accounts() -> list[Object]:
        return (await kube.list(names.SERVICE_ACCOUNT, "default"))[0]

    await bodies.until(accounts, "a new control plane has made the namespace's account")
    async with Kube.connect(user_agent="test", kubeconfig=account("operator")) as ours:
        await ours.create(names.POD, pod, dry_run=True)


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({}, ""),
        ({"placement": {"numa": "None"}}, "ours:1"),
        ({"engine": {"kind": "Custom", "image": "i", "args": ["x"]}, "warm": {"asleep": 0}}, "ours:1"),
    ],
    ids=["off", "zones do not matter", "not known what it starts"],
)
def test_elsewhere_the_engine_starts_as_its_image_says(bodies: Any, spec: Any, image: str) -> None:
    pod = rendered(bodies, spec, launcher_image=image)
    assert "initContainers" not in pod["spec"]
    assert "command" not in pod["spec"]["containers"][0]


async def test_an_engine_on_a_wrong_gpu_is_told_on_its_pool_once(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(replicas={"min": 1, "max": 1}))
        await site.until(lambda: world.ledger("n1") and world.ledger("n1").pods, "an engine is placed")
        uid = world.ledger("n1").pods[0].uid
        entry = {"podUID": uid, "reason": "WrongGPU", "message": f"pod {uid} uses GPU-x, its GPUs are GPU-y"}
        stranger = entry | {"podUID": "somebody"}
        patch = {"status": {"misplaced": [stranger, entry]}}
        await kube.merge_patch(names.GPU_NODE, "n1", patch, subresource="status")

        async def told() -> list[Object]:
            events = (await kube.list(names.EVENT, "default"))[0]
            return [e for e in events if e["reason"] == "WrongGPU"]

        (event,) = await site.until(told, "an event on the pool")
        assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("InferencePool", "p")
        assert event["type"] == "Warning"
        assert "GPU-x" in event["message"]
        await reconcile_node(world, "n1")
        assert len(await told()) == 1
