"""Whether a real node can run on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ingle_lab.realnode import cgroups

_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24
_NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--cgroup")
UNSHARE = ("unshare", *_NAMESPACES, "--fork", "--kill-child")


def has_capability(number: int, status: str) -> bool:
    """Whether /proc/PID/status shows it as effective."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return bool(int(line.split()[1], 16) >> number & 1)


def may_lower_oom() -> bool:
    """Whether this process may lower oom_score_adj, as containerd wants to for every sandbox."""
    return has_capability(_CAP_SYS_RESOURCE, Path("/proc/self/status").read_text())


def reasons() -> list[str]:
    """Why no real node can run here, a sentence each; empty where it can."""
    if sys.platform != "linux":
        return ["it needs Linux."]
    found: list[str] = []
    if os.geteuid() != 0:
        return ["it needs root, for mounts, networks and cgroups of its own; this is an ordinary user."]
    if not has_capability(_CAP_SYS_ADMIN, Path("/proc/self/status").read_text()):
        return ["root has no CAP_SYS_ADMIN here, as in an unprivileged container; use a virtual machine."]
    missing = [name for name in ("unshare", "nsenter", "mount", "ip") if shutil.which(name) is None]
    if missing:
        return [f"it needs the programs {', '.join(missing)} (Debian: util-linux, mount, iproute2)."]
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        found.append(f"the kernel gives no namespaces of our own: {tried.stderr.strip()}")
    found += _cgroup_reasons()
    if "overlay" not in Path("/proc/filesystems").read_text():
        found.append("the kernel has no overlay file system.")
    return found


def _cgroup_reasons() -> list[str]:
    if (cgroups.ROOT / "cgroup.controllers").exists():
        return ["this machine has cgroup v2 alone; the real node was made for, and tried on, cgroup v1."]
    mine = cgroups.parse(Path("/proc/self/cgroup").read_text())
    missing = [name for name in ("cpu", "cpuset", "memory", "devices", "pids") if name not in mine]
    if missing:
        return [f"cgroup v1 lacks {', '.join(missing)}."]
    name = f"ingle-try-{os.getpid()}"
    for folder in cgroups.folders(name):
        try:
            folder.mkdir()
            folder.rmdir()
        except OSError as error:
            return [f"{folder.parent} cannot be written: {error.strerror}."]
    return []
