"""NVIDIA's container runtime on the node, in its CDI mode: what it reads, and what it calls in runc's place.

The runtime is NVIDIA's own; what it puts into containers is simulated: the driver's library and the node's GPUs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LIBRARY_DIR: Final = "/usr/local/nvidia/lib64"
GPU_DIR: Final = "/run/ingle-lab"
KIND: Final = "nvidia.com/gpu"
STATE: Final = "INGLE_LAB_GPU_STATE"
_MAJOR: Final = 195  # of NVIDIA's device nodes; nothing here answers behind it


def cdi(uuids: Sequence[str], library: Path, gpus: Path, time_scale: float) -> dict[str, Any]:
    """The node's CDI specification, as `nvidia-ctk cdi generate --device-name-strategy=uuid` would name devices."""
    nodes = [{"path": f"/dev/nvidia{n}", "type": "c", "major": _MAJOR, "minor": n} for n in range(len(uuids))]
    devices = [
        {"name": uuid, "containerEdits": {"deviceNodes": [node]}}
        for uuid, node in zip(uuids, nodes, strict=True)
    ]
    variables = {
        "NVIDIA_VISIBLE_DEVICES": "void",  # nvidia-ctk says so too: nobody else is to give GPUs once more
        "LD_LIBRARY_PATH": LIBRARY_DIR,
        STATE: f"{GPU_DIR}/gpus.state",
        "INGLE_LAB_TIME_SCALE": str(time_scale),
        "INGLE_NUMA_ROOT": f"{GPU_DIR}/numa",
    }
    return {
        "cdiVersion": "0.6.0",
        "kind": KIND,
        "devices": [*devices, {"name": "all", "containerEdits": {"deviceNodes": nodes}}],
        "containerEdits": {
            "env": [f"{name}={value}" for name, value in variables.items()],
            "mounts": [_bind(library.parent, LIBRARY_DIR, "ro"), _bind(gpus, GPU_DIR, "rw")],
        },
    }


def _bind(source: Path, target: str, access: str) -> dict[str, Any]:
    options = ["rbind", "nosuid", "nodev", access]
    return {"hostPath": str(source), "containerPath": target, "options": options}


def config(low_level: Path, specifications: Path) -> str:
    """TOML for NVIDIA's runtime: devices are asked for by NVIDIA_VISIBLE_DEVICES or by an annotation."""
    return f"""[nvidia-container-runtime]
mode = "cdi"
runtimes = ["{low_level}"]
[nvidia-container-runtime.modes.cdi]
default-kind = "{KIND}"
spec-dirs = ["{specifications}"]
annotation-prefixes = ["cdi.k8s.io/"]
"""


def program(nvidia: Path, config_file: Path) -> str:
    """Text of the program that containerd calls in runc's place."""
    return f'#!/bin/sh\nNVIDIA_CTK_CONFIG_FILE_PATH={config_file} exec {nvidia} "$@"\n'


def low_level(runc: Path) -> str:
    """Text of the program that NVIDIA's runtime calls in runc's place."""
    edit = f"{sys.executable} -I -S {Path(__file__)}"
    return f'#!/bin/sh\ncase " $* " in *" create "*) {edit} "$@" || exit 1;; esac\nexec {runc} "$@"\n'


def share_process_ids(spec: dict[str, Any]) -> dict[str, Any]:
    """The OCI specification, without process ids of its own where the container has simulated GPUs.

    The driver knows processes by the node's ids, and the simulated one cannot translate those of a container.
    """
    has_gpus = any(entry.startswith(f"{STATE}=") for entry in spec["process"].get("env", ()))
    if not has_gpus or (spec.get("annotations") or {}).get("io.kubernetes.cri.container-type") == "sandbox":
        return spec
    linux = spec["linux"]
    namespaces = [one for one in linux["namespaces"] if one["type"] != "pid"]
    return spec | {"linux": linux | {"namespaces": namespaces}}


def main(words: list[str]) -> None:
    """The words that runc gets; changes config.json in the bundle."""
    path = Path(words[words.index("--bundle") + 1]) / "config.json"
    path.write_text(json.dumps(share_process_ids(json.loads(path.read_text()))))


if __name__ == "__main__":
    main(sys.argv[1:])
