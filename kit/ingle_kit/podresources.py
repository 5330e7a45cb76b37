"""The kubelet's pod-resources API, version 1: method `List`, and of its messages what says who got a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from ingle_kit.protobuf import Fields, messages

SERVICE: Final = "v1.PodResourcesLister"
LIST: Final = f"/{SERVICE}/List"
_FIELDS: Final[Fields] = {
    "ContainerDevices": (("resource_name", 1, ""), ("device_ids", 2, "*")),
    "ContainerResources": (("name", 1, ""), ("devices", 2, "*ContainerDevices")),
    "PodResources": (("name", 1, ""), ("namespace", 2, ""), ("containers", 3, "*ContainerResources")),
    "ListPodResourcesResponse": (("pod_resources", 1, "*PodResources"),),
}


class Given(NamedTuple):
    """A device that the kubelet gave to a container of a pod; `device` as its device plugin names it."""

    namespace: str
    pod: str
    container: str
    resource: str
    device: str


_Answer = messages("v1", _FIELDS)["ListPodResourcesResponse"]


def given(answer: bytes) -> list[Given]:
    """The devices in an answer of `List`. Raises ValueError for bytes that are none."""
    try:
        return list(_walk(_Answer.FromString(answer)))
    except DecodeError as error:
        raise ValueError(f"not an answer of {LIST}: {error}") from error


def _walk(answer: Any) -> Iterator[Given]:
    for pod in answer.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                for device in devices.device_ids:
                    yield Given(pod.namespace, pod.name, container.name, devices.resource_name, device)


def answer_of(devices: list[Given]) -> bytes:
    """An answer of `List`, as the kubelet would give it for these."""
    answer = _Answer()
    pods: dict[tuple[str, str], Any] = {}
    for one in devices:
        pod = pods.get((one.namespace, one.pod))
        if pod is None:
            pod = pods[one.namespace, one.pod] = answer.pod_resources.add(
                namespace=one.namespace, name=one.pod
            )
        container = next((c for c in pod.containers if c.name == one.container), None)
        container = container or pod.containers.add(name=one.container)
        held = next((d for d in container.devices if d.resource_name == one.resource), None)
        held = held or container.devices.add(resource_name=one.resource)
        held.device_ids.append(one.device)
    return bytes(answer.SerializeToString())
