"""GPUs that the stand-in of the device plugin hands out, and what the pod-resources socket tells of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from ingle_kit.kube import Object
from ingle_kit.names import NODE, POD
from ingle_kit.podresources import LIST, Given, given
from ingle_lab.node.devices import Devices

GPUS = [f"GPU-{at}" for at in range(4)]


def asking(gpus: int, command: str = "exec sleep 60") -> Object:
    amount = {"nvidia.com/gpu": str(gpus)}
    return {"image": "shell", "command": [command], "resources": {"requests": amount, "limits": amount}}


def pod(uid: str, *containers: int) -> Object:
    metadata = {"namespace": "ns", "name": f"pod-{uid}", "uid": uid}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": f"c{at}"} | asking(gpus) for at, gpus in enumerate(containers)]},
    }


def test_no_gpu_is_given_twice_and_those_of_ended_pods_come_back(tmp_path: Path) -> None:
    devices = Devices(GPUS, tmp_path / "devices.json")
    devices.give(pod("a", 1, 1), set())
    devices.give(pod("b", 2), {"a"})
    held = [(one.pod, one.container, one.device) for one in devices.given({"a", "b"})]
    assert held == [
        ("pod-a", "c0", "GPU-0"),
        ("pod-a", "c1", "GPU-1"),
        ("pod-b", "c0", "GPU-2"),
        ("pod-b", "c0", "GPU-3"),
    ]
    devices.give(pod("c", 1), {"b"})
    assert [one.device for one in devices.given({"b", "c"}) if one.pod == "pod-c"] == ["GPU-0"]
    assert devices.environment("b", "c0") == {"NVIDIA_VISIBLE_DEVICES": "GPU-2,GPU-3"}
    assert devices.environment("a", "c0") == {}


def test_what_was_given_outlives_the_program(tmp_path: Path) -> None:
    devices = Devices(GPUS, tmp_path / "devices.json")
    devices.give(pod("a", 3), set())
    again = Devices(GPUS, tmp_path / "devices.json")
    assert again.given({"a"}) == devices.given({"a"})
    assert len(again.given({"a"})) == 3


async def listed(lab: Any) -> list[Given]:
    node = lab.program.nodes[lab.node_names[0]]
    socket = node.context.host_folder / "var/lib/kubelet/pod-resources/kubelet.sock"
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        return given(await channel.unary_unary(LIST)(b"", timeout=5, wait_for_ready=True))


async def test_the_socket_tells_which_gpus_a_pod_got_until_it_is_gone(
    start_lab: Any, make_config: Callable[..., Any]
) -> None:
    lab = await start_lab(make_config(gpus=GPUS))
    node = await lab.admin.get(NODE, lab.node_names[0])
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    show = "echo $NVIDIA_VISIBLE_DEVICES; exec sleep 60"
    first = await lab.pod("first", asking(3, show))
    await lab.until_ready(first)
    assert [(one.namespace, one.pod, one.device) for one in await listed(lab)] == [
        ("default", first, uuid) for uuid in GPUS[:3]
    ]
    assert lab.log(first) == "GPU-0,GPU-1,GPU-2\n"
    too_big = await lab.pod("big", asking(2))
    refused = await lab.until(too_big, lambda pod: pod["status"]["phase"] == "Failed")
    assert refused["status"]["reason"] == "OutOfnvidia.com/gpu"
    await lab.admin.delete(POD, first, "default")
    await lab.until_gone(first)
    second = await lab.pod("second", asking(4))
    await lab.until_ready(second)
    assert [(one.pod, one.device) for one in await listed(lab)] == [(second, uuid) for uuid in GPUS]
