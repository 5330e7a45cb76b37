"""What a driver adds to an engine's pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ingle_core.placement import GpuAnnotation
from ingle_kit.names import ANNOTATION_GPUS


@dataclass(frozen=True)
class Attachment:
    """Fields of the pod's spec, variables of the engine's container, and what the Binding is to carry."""

    pod_fields: dict[str, Any]
    env: tuple[dict[str, Any], ...]
    gpu_annotation: GpuAnnotation | None = None


Driver = Callable[[str], Attachment]  # of a runtime class, empty for the node's default one


def gpus_variable(name: str) -> dict[str, Any]:
    """A variable with the pod's GPU UUIDs: the downward API reads the annotation that the Binding brought."""
    path = f"metadata.annotations['{ANNOTATION_GPUS}']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def runtime_class(name: str) -> dict[str, Any]:
    return {"runtimeClassName": name} if name else {}
