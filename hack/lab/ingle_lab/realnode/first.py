"""First process of the node's namespaces: mounts and network, then the rest as a child; reaps what others leave.

Run as `python -m ingle_lab.realnode.first LAB` by `unshare`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ingle_lab.realnode.cgroups import CONTROLLERS, ROOT, parse
from ingle_lab.realnode.files import BRIDGE, NODE_ADDRESS, NODE_NAME, SERVICE_ADDRESS


def mounts(lab: Path) -> None:
    """A fresh view of processes, devices and cgroups; /var/lib and /var/log in the lab's folder, /run in memory."""
    _run("mount", "--make-rprivate", "/")
    hierarchies = parse(Path("/proc/self/cgroup").read_text())
    _run("mount", "-t", "proc", "proc", "/proc")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(ROOT))
    for name in CONTROLLERS:
        if name in hierarchies:
            (ROOT / name).mkdir()
            option = "none,name=systemd" if name == "systemd" else name
            _run("mount", "-t", "cgroup", "-o", option, "cgroup", str(ROOT / name))
    for folder in ("lib", "log"):
        (lab / "var" / folder).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(lab / "var" / folder), f"/var/{folder}")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")


def network() -> None:
    """Loopback with the address of the Service `kubernetes`, and the bridge that pods will hang on."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{SERVICE_ADDRESS}/32", "dev", "lo")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    _run("ip", "route", "add", "default", "dev", BRIDGE)  # Services have addresses outside every network
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def main(lab: Path) -> int:
    """Exit code of the rest."""
    Path("/proc/sys/kernel/hostname").write_text(NODE_NAME)
    mounts(lab)
    network()
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "ingle_lab.realnode.inside", str(lab)])
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
