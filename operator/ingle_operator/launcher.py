"""The launchers (`ingle-launch`, `ingle-spare`) in front of an engine: init containers copy them, its command runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.launch import GPUS_VARIABLE
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.adapters import ADAPTERS
from ingle_operator.adapters.spare import launcher_port
from ingle_operator.attach.attachment import gpus_variable
from ingle_operator.overlay import CLOSED

FOLDER = "/ingle"
FILE = f"{FOLDER}/launch.py"
SPARE_FILE = f"{FOLDER}/spare.py"
VOLUME = "ingle-launch"
USER = 65532  # of our image, whatever the engine runs as


@dataclass(frozen=True)
class Launcher:
    """`image`: one of ours that has `ingle-launch`, empty: no engine is kept on its zone; `spare_image`: one that has
    `ingle-spare`, empty: there are no spares. `command`: what the engine's image starts by itself."""

    image: str
    command: tuple[str, ...]
    spare_image: str = ""


def with_launcher(
    pod_spec: dict[str, Any], spec: InferencePoolSpec, launcher: Launcher | None
) -> dict[str, Any]:
    """The pod's spec with the launchers in front of its first container: the one for zones, the one for spares.

    As it was where there is none, or where the pool does not care for zones and its engine is no spare, or what its image
    starts is not known.
    """
    if launcher is None or spec.engine.kind == "Custom":
        return pod_spec
    zoned = bool(launcher.image) and spec.placement.numa != "None"
    spare = bool(launcher.spare_image) and level_of(spec.warm.level) is Level.SPARE
    if not zoned and not spare:
        return pod_spec
    mount = {"name": VOLUME, "mountPath": FOLDER}
    engine, *others = pod_spec["containers"]
    command = engine.get("command") or launcher.command
    command = _spare_command(spec) if spare else list(command)
    engine = engine | {
        "command": ["python3", FILE, "--", *command] if zoned else command,
        "env": [
            *engine["env"],
            *([gpus_variable(GPUS_VARIABLE)] if zoned else []),
            *(_spare_env(spec) if spare else []),
        ],
        "volumeMounts": [*engine.get("volumeMounts", ()), mount | {"readOnly": True}],
    }
    installers = [_installer("launcher", launcher.image, "ingle-launch", FILE, mount)] if zoned else []
    installers += (
        [_installer("spare", launcher.spare_image, "ingle-spare", SPARE_FILE, mount)] if spare else []
    )
    return pod_spec | {
        "initContainers": installers,
        "containers": [engine, *others],
        "volumes": [*pod_spec.get("volumes", ()), {"name": VOLUME, "emptyDir": {"sizeLimit": "1Mi"}}],
    }


def _spare_command(spec: InferencePoolSpec) -> list[str]:
    engine, port = ADAPTERS[spec.engine.kind], spec.engine.port
    words = ["python3", SPARE_FILE, "--listen", "$(POD_IP)", "--port", str(launcher_port(port))]
    words += ["--engine-port", str(port), "--module", engine.module]
    return [*words, *(word for name in engine.also for word in ("--also", name)), "--"]


def _spare_env(spec: InferencePoolSpec) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in ADAPTERS[spec.engine.kind].spare_env.items()]


def _installer(name: str, image: str, program: str, file: str, mount: dict[str, Any]) -> dict[str, Any]:
    amount = {"cpu": "10m", "memory": "64Mi"}
    return {
        "name": name,
        "image": image,
        "command": [program, "--install", file],
        "resources": {"requests": amount, "limits": {"memory": amount["memory"]}},
        "securityContext": CLOSED | {"runAsNonRoot": True, "runAsUser": USER},
        "volumeMounts": [mount],
    }
