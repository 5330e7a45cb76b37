"""Stands for NVIDIA's container runtime: gives a container the node's simulated GPUs, then leaves it to runc.

As the real one, it goes by NVIDIA_VISIBLE_DEVICES in the container's environment, and brings the driver's library along.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LIBRARY_DIR = "/usr/local/nvidia/lib64"
GPU_DIR = "/run/ingle-lab"
NO_GPUS = frozenset(("", "void", "none"))


def give_gpus(spec: dict[str, Any], library: Path, gpus: Path, time_scale: float) -> dict[str, Any]:
    """The OCI specification, with the library and the folder `gpus` mounted where the container asks for GPUs.

    The driver knows processes by the node's ids. The simulated one cannot translate those of a container, so a
    container with GPUs shares the node's process ids.
    """
    process = spec["process"]
    variables = dict(entry.partition("=")[::2] for entry in process.get("env", ()))
    if variables.get("NVIDIA_VISIBLE_DEVICES", "") in NO_GPUS:
        return spec
    variables |= {
        "LD_LIBRARY_PATH": LIBRARY_DIR,
        "INGLE_LAB_GPU_STATE": f"{GPU_DIR}/gpus.state",
        "INGLE_LAB_TIME_SCALE": str(time_scale),
        "INGLE_NUMA_ROOT": f"{GPU_DIR}/numa",
    }
    mounts = [_bind(library.parent, LIBRARY_DIR, "ro"), _bind(gpus, GPU_DIR, "rw")]
    linux = spec["linux"]
    namespaces = [one for one in linux["namespaces"] if one["type"] != "pid"]
    return spec | {
        "process": process | {"env": [f"{name}={value}" for name, value in variables.items()]},
        "mounts": [*spec.get("mounts", ()), *mounts],
        "linux": linux | {"namespaces": namespaces},
    }


def _bind(source: Path, target: str, access: str) -> dict[str, Any]:
    options = ["rbind", "nosuid", "nodev", access]
    return {"type": "bind", "source": str(source), "destination": target, "options": options}


def program(runc: Path, library: Path, gpus: Path, time_scale: float) -> str:
    """Text of the program that containerd calls in runc's place."""
    edit = f"{sys.executable} -I -S {Path(__file__)} {library} {gpus} {time_scale}"
    return f'#!/bin/sh\ncase " $* " in *" create "*) {edit} "$@" || exit 1;; esac\nexec {runc} "$@"\n'


def main(words: list[str]) -> None:
    """LIBRARY GPUS TIME_SCALE, then the words that runc gets; changes config.json in the bundle."""
    library, gpus, time_scale, *runc_words = words
    bundle = runc_words[runc_words.index("--bundle") + 1]
    path = Path(bundle) / "config.json"
    given = give_gpus(json.loads(path.read_text()), Path(library), Path(gpus), float(time_scale))
    path.write_text(json.dumps(given))


if __name__ == "__main__":
    main(sys.argv[1:])
