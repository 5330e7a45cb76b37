"""Which pods a node takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatch

from ingle_kit.kube import Object
from ingle_lab.node.config import Image
from ingle_lab.node.quantity import parse_quantity

VOLUME_KINDS = (
    "emptyDir",
    "configMap",
    "secret",
    "projected",
    "downwardAPI",
    "hostPath",
    "persistentVolumeClaim",
)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

Images = Mapping[str, list[str] | Image]
Amounts = dict[str, Decimal]


@dataclass(frozen=True)
class Refusal:
    """Why a pod ends as Failed: its status' `reason` and `message`."""

    reason: str
    message: str


def image_of(image: str, images: Images) -> list[str] | Image | None:
    """The table's entry for an image; None when it does not know it."""
    return next((entry for pattern, entry in images.items() if fnmatch(image, pattern)), None)


def prefix_of(container: Object, images: Images) -> list[str]:
    """The words before a container's `command` and `args`."""
    image = image_of(container["image"], images)
    if isinstance(image, Image):
        return [] if container.get("command") else image.entrypoint
    return image or []


def programs_of(container: Object, images: Images) -> str:
    """The folder of programs that its image brings along, empty for none."""
    image = image_of(container["image"], images)
    return image.bin if isinstance(image, Image) else ""


def all_containers(pod: Object) -> list[Object]:
    """Init containers, then the others."""
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


def requests_of(pod: Object) -> Amounts:
    """What a pod asks for: the sum over containers, at least each init container's, plus one of `pods`."""
    spec = pod["spec"]
    total: Amounts = {"pods": Decimal(1)}
    for container in spec["containers"]:
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def out_of(asked: Amounts, others: Iterable[Amounts], allocatable: Mapping[str, Decimal]) -> Refusal | None:
    """`OutOf<resource>` when a resource that the node advertises does not reach; others are not looked at."""
    used: Amounts = {}
    for other in others:
        for name, amount in other.items():
            used[name] = used.get(name, Decimal(0)) + amount
    for name, amount in sorted(asked.items()):
        if name in allocatable and amount > 0 and used.get(name, Decimal(0)) + amount > allocatable[name]:
            return Refusal(
                f"OutOf{name}",
                f"Node didn't have enough resource: {name}, requested: {amount:f}, "
                f"used: {used.get(name, Decimal(0)):f}, capacity: {allocatable[name]:f}",
            )
    return None


def unsupported(pod: Object, images: Images) -> Refusal | None:
    """What this stand-in cannot run, or None."""
    for container in all_containers(pod):
        if image_of(container["image"], images) is None:
            return Refusal(
                "ErrImageNeverPull",
                f"container {container['name']}: image {container['image']} has no local command; "
                f"add it to `images` of the node stand-in (known: {', '.join(images) or 'none'})",
            )
    problem = next(_problems(pod), None)
    return Refusal("UnsupportedByLab", f"the node stand-in does not support {problem}") if problem else None


def _problems(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or []:
        if not any(kind in volume for kind in VOLUME_KINDS):
            kinds = ", ".join(key for key in volume if key != "name")
            yield f"volume {volume['name']} ({kinds}); it knows {', '.join(VOLUME_KINDS)}"
    for container in pod["spec"].get("initContainers") or []:
        if container.get("restartPolicy"):
            yield f"init container {container['name']} with a restartPolicy (a sidecar)"
    for container in all_containers(pod):
        yield from _container_problems(container)


def _container_problems(container: Object) -> Iterator[str]:
    where = f"in container {container['name']}"
    if (container.get("lifecycle") or {}).get("postStart"):
        yield f"lifecycle.postStart {where}"
    if container.get("volumeDevices"):
        yield f"volumeDevices {where}"
    for probe in PROBES:
        if "grpc" in (container.get(probe) or {}):
            yield f"{probe}.grpc {where}; use httpGet, tcpSocket or exec"
    for variable in container.get("env") or []:
        for source in variable.get("valueFrom") or {}:
            if source not in ("fieldRef", "configMapKeyRef", "secretKeyRef"):
                yield f"env {variable['name']} from {source} {where}"


def _requests(container: Object) -> Amounts:
    asked = (container.get("resources") or {}).get("requests") or {}
    return {name: parse_quantity(str(amount)) for name, amount in asked.items()}
