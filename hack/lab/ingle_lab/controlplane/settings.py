"""Settings of the lab's control plane."""

from __future__ import annotations

import os
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from ingle_lab.controlplane.preflight import GIB_BYTES, port_is_free

ADDRESS = "127.0.0.1"
_AUTO_PORTS = range(20000, 32000)  # below the range the kernel gives to outgoing connections


def lab_dir() -> Path:
    """Where the lab keeps its state: INGLE_LAB_DIR, else `.lab` in the working folder."""
    return Path(os.environ.get("INGLE_LAB_DIR") or ".lab").absolute()


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    apiserver: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380
    controller_manager: int = 10257
    scheduler: int = 10259

    def by_name(self) -> dict[str, int]:
        return {name.replace("_", "-"): port for name, port in asdict(self).items()}


def pick_free_ports() -> Ports:
    """Ports that are free now, spread at random so that labs started together do not meet."""
    luck = random.SystemRandom()
    found: list[int] = []
    while len(found) < 5:
        port = luck.choice(_AUTO_PORTS)
        if port not in found and port_is_free(ADDRESS, port):
            found.append(port)
    return Ports(*found)


@dataclass(frozen=True)
class Settings:
    """How the control plane is set up. Times in seconds; the defaults are Kubernetes' own."""

    ports: Ports | Literal["auto"] = field(default_factory=Ports)
    default_scheduler: bool = False
    """Run kube-scheduler for pods of `default-scheduler` (about 60 MB)."""
    node_monitor_period_s: float = 5.0
    """How often the node controller looks at the Leases and status of nodes."""
    node_monitor_grace_s: float = 50.0
    """Silence after which a node counts as not ready."""
    pod_eviction_s: int = 300
    """How long pods stay on a node that is not ready or unreachable, for pods made from now on."""
    node_eviction_rate: float = 0.1
    """Nodes per second whose pods may be evicted; 0 while over 55 % of the nodes are lost, as on any small cluster."""
    service_range: str = "10.96.0.0/16"
    audit_max_mib: int = 200
    """Size at which the audit log is rotated; two old files are kept."""
    apiserver_flags: dict[str, str] = field(default_factory=dict)
    """Flags of kube-apiserver beyond our own, or in their place."""
    need_bytes: int = GIB_BYTES
    """Free disk space without which nothing is started."""
