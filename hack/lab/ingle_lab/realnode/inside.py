"""What runs in the node's namespaces: the control plane, containerd, kubelet and the rest; what ends is started again.

Run as `python -m ingle_lab.realnode.inside LAB` by `first`. Reads LAB/realnode.json, writes LAB/inside.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingle_lab.controlplane import ControlPlane, Settings, identities
from ingle_lab.controlplane.settings import Ports
from ingle_lab.gpu import read_gpus
from ingle_lab.realnode import files, gpu_runtime
from ingle_lab.realnode.files import NODE_ADDRESS, NODE_NAME, SERVICE_ADDRESS
from ingle_lab.realnode.preflight import may_lower_oom

RESTART_S = 1.0
_POLL_S = 0.1
_LABELS = "nvidia.com/gpu.present=true"


@dataclass(frozen=True)
class Orders:
    """What the starter wrote: programs by name, folders, and how fast engines are."""

    programs: Mapping[str, Path]
    nft: Path
    gpu_library: Path
    images: Sequence[Path]
    time_scale: float

    @classmethod
    def read(cls, lab: Path) -> Orders:
        told = json.loads((lab / "realnode.json").read_text())
        programs = {name: Path(path) for name, path in told["programs"].items()}
        images = [Path(path) for path in told["images"]]
        return cls(programs, Path(told["nft"]), Path(told["gpu_library"]), images, told["time_scale"])


def control_plane(lab: Path) -> ControlPlane:
    """Started; at port 443 of every address of the node's network, also that of the Service `kubernetes`."""
    ca = identities.authority(lab)
    client = ca.client("apiserver-kubelet", "apiserver-kubelet", ["system:masters"])
    names = ("localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", SERVICE_ADDRESS, NODE_ADDRESS)
    server = ca.server("apiserver-real", names)
    flags = files.apiserver_flags(client.cert, client.key, server.cert, server.key)
    settings = Settings(
        ports=Ports(apiserver=443),
        default_scheduler=True,
        node_monitor_grace_s=20.0,
        node_monitor_period_s=2.0,
        apiserver_flags=dict(flags),
    )
    plane = ControlPlane(lab, settings)
    plane.start()
    return plane


class Crew:
    """The node's programs; each one that ends is started again, as an init system would."""

    def __init__(self, lab: Path, path: str) -> None:
        self._lab = lab
        self._environment = {**os.environ, "PATH": path}
        self._commands: dict[str, list[str]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._due_s: dict[str, float] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        self._commands[name] = list(command)
        log = (self._lab / "logs" / f"{name}.log").open("ab")
        self._running[name] = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment
        )
        log.close()
        self.tell()

    def tell(self) -> None:
        """Process ids, by name, for who wants to kill one."""
        path = self._lab / "inside.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({name: child.pid for name, child in self._running.items()}))
        partial.rename(path)

    def watch(self) -> None:
        """Starts again what has ended; never returns."""
        while True:
            now_s = time.monotonic()
            for name, child in list(self._running.items()):
                if child.poll() is None:
                    self._due_s.pop(name, None)
                elif now_s >= self._due_s.setdefault(name, now_s + RESTART_S):
                    self._due_s.pop(name)
                    self.start(name, self._commands[name])
            time.sleep(_POLL_S)


def write_files(lab: Path, orders: Orders, plane: ControlPlane) -> dict[str, list[str]]:
    """Configuration of the node's programs; gives their command lines."""
    programs, pki = orders.programs, identities.authority(lab)
    folder = lab / "etc"
    for made in (folder / "cni", lab / "static-pods", lab / "volume-plugins"):
        made.mkdir(parents=True, exist_ok=True)
    uuids = [gpu.uuid for gpu in read_gpus(lab / "gpus" / "gpus.state")]
    runtime = _gpu_runtime(lab, orders, uuids)
    (folder / "cni" / "10-pods.conflist").write_text(files.cni())
    (folder / "containerd.toml").write_text(
        files.containerd(
            programs["runc"],
            runtime,
            programs["bridge"].parent,
            folder / "cni",
            may_lower_oom=may_lower_oom(),
        )
    )
    pair = pki.server("kubelet", (NODE_NAME, NODE_ADDRESS))
    kubeconfig = plane.node_kubeconfig(NODE_NAME)
    _write_yaml(folder / "kubelet.yaml", files.kubelet(lab, pki.ca.cert, pair.cert, pair.key))
    _write_yaml(folder / "kube-proxy.yaml", files.kube_proxy(plane.kubeconfig))
    return {
        "containerd": [str(programs["containerd"]), "--config", str(folder / "containerd.toml")],
        "kubelet": [
            str(programs["kubelet"]),
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
            f"--node-labels={_LABELS}",
            "--root-dir=/var/lib/kubelet",
            f"--cert-dir={lab / 'pki'}",
        ],
        "kube-proxy": [str(programs["kube-proxy"]), f"--config={folder / 'kube-proxy.yaml'}"],
        "kube-network-policies": [
            str(programs["kube-network-policies"]),
            f"--kubeconfig={plane.kubeconfig}",
            f"--hostname-override={NODE_NAME}",
        ],
        "device-plugin": [sys.executable, "-m", "ingle_lab.realnode.device_plugin", *uuids],
    }


def _gpu_runtime(lab: Path, orders: Orders, uuids: Sequence[str]) -> Path:
    """NVIDIA's runtime with all that it reads; gives the program that containerd is to call."""
    folder = lab / "etc" / "gpu-runtime"
    (folder / "cdi").mkdir(parents=True, exist_ok=True)
    given = gpu_runtime.cdi(uuids, orders.gpu_library, lab / "gpus", orders.time_scale)
    (folder / "cdi" / "gpus.json").write_text(json.dumps(given, indent=1))
    low_level, config, runtime = folder / "low-level", folder / "config.toml", folder / "runtime"
    low_level.write_text(gpu_runtime.low_level(orders.programs["runc"]))
    config.write_text(gpu_runtime.config(low_level, folder / "cdi"))
    runtime.write_text(gpu_runtime.program(orders.programs["nvidia-container-runtime"], config))
    for made in (low_level, runtime):
        made.chmod(0o755)
    return runtime


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def import_images(orders: Orders) -> None:
    """Into the runtime's store, as `ctr` does it; returns when all are unpacked."""
    ctr = [str(orders.programs["ctr"]), "--address", files.SOCKET, "--namespace", "k8s.io"]
    _wait(lambda: subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0)
    for archive in orders.images:
        subprocess.run([*ctr, "images", "import", "--local", str(archive)], check=True)


def _wait(check: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline_s:
            raise TimeoutError("containerd does not answer; see its log")
        time.sleep(_POLL_S)


def main(lab: Path) -> None:
    """Never returns, unless something cannot start."""
    orders = Orders.read(lab)
    (lab / "logs").mkdir(parents=True, exist_ok=True)
    folders = [*dict.fromkeys(str(program.parent) for program in orders.programs.values()), str(orders.nft)]
    crew = Crew(lab, os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]))
    plane = control_plane(lab)
    commands = write_files(lab, orders, plane)
    crew.start("containerd", commands["containerd"])
    import_images(orders)
    for name in ("kubelet", "kube-proxy", "kube-network-policies", "device-plugin"):
        crew.start(name, commands[name])
    crew.watch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
