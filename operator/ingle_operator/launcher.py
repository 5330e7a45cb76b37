"""The launcher (`ingle-launch`) in front of an engine: an init container copies it, the engine's command runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingle_kit.launch import GPUS_VARIABLE
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.attach.attachment import gpus_variable
from ingle_operator.overlay import CLOSED

FOLDER = "/ingle"
FILE = f"{FOLDER}/launch.py"
VOLUME = "ingle-launch"
USER = 65532  # of our image, whatever the engine runs as


@dataclass(frozen=True)
class Launcher:
    """`image`: one of ours that has `ingle-launch`. `command`: what the engine's image starts by itself."""

    image: str
    command: tuple[str, ...]


def with_launcher(
    pod_spec: dict[str, Any], spec: InferencePoolSpec, launcher: Launcher | None
) -> dict[str, Any]:
    """The pod's spec with the launcher in front of its first container.

    As it was where there is no launcher, the pool does not care for zones, or what its image starts is not known.
    """
    if launcher is None or spec.placement.numa == "None" or spec.engine.kind == "Custom":
        return pod_spec
    mount = {"name": VOLUME, "mountPath": FOLDER}
    engine, *others = pod_spec["containers"]
    engine = engine | {
        "command": ["python3", FILE, "--", *(engine.get("command") or launcher.command)],
        "env": [*engine["env"], gpus_variable(GPUS_VARIABLE)],
        "volumeMounts": [*engine.get("volumeMounts", ()), mount | {"readOnly": True}],
    }
    return pod_spec | {
        "initContainers": [_installer(launcher.image, mount)],
        "containers": [engine, *others],
        "volumes": [*pod_spec.get("volumes", ()), {"name": VOLUME, "emptyDir": {"sizeLimit": "1Mi"}}],
    }


def _installer(image: str, mount: dict[str, Any]) -> dict[str, Any]:
    amount = {"cpu": "10m", "memory": "64Mi"}
    return {
        "name": "launcher",
        "image": image,
        "command": ["ingle-launch", "--install", FILE],
        "resources": {"requests": amount, "limits": {"memory": amount["memory"]}},
        "securityContext": CLOSED | {"runAsNonRoot": True, "runAsUser": USER},
        "volumeMounts": [mount],
    }
