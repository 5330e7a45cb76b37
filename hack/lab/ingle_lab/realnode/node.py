"""The real node as seen from outside: start it, enter its network, break it, stop it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ingle_lab.controlplane.binaries import built_folder, cache_dir
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.processes import spawn
from ingle_lab.gpu import build_library, create_state, load_profile
from ingle_lab.realnode import binaries, cgroups, preflight
from ingle_lab.realnode.debian import nft
from ingle_lab.realnode.files import NODE_NAME
from ingle_lab.stack.nodes import write_numa

_CLONE_NEWNET = 0x40000000
_CGROUP = "ingle-real-"
_SHIM = "containerd-shim"  # as far as the kernel keeps names
_PROGRAMS = ("kubelet", "containerd", "kube-proxy", "kube-network-po")
_POLL_S = 0.1


class RealNodeError(ControlPlaneError):
    """The node cannot run here or did not start; the text says why and what to do."""


class RealNode:
    """One node with the control plane beside it. Ends with this Python process, however it ends."""

    def __init__(
        self,
        lab: Path,
        images: Sequence[Path],
        *,
        gpu_profile: str = "h100x8",
        time_scale: float = 0.1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.lab = lab.absolute()
        self._images, self._profile, self._time_scale = images, gpu_profile, time_scale
        self._say = say
        self._cgroup = f"{_CGROUP}{os.getpid()}"
        self._outer: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """Administrator's; good in the node's network only."""
        return self.lab / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        return built_folder() / "kubectl"

    @property
    def first_pid(self) -> int:
        """Process id, as seen here, of the first process in the node's namespaces."""
        if self._outer is None:
            raise RealNodeError("the real node is not started: call start() first.")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not children:
            raise RealNodeError(f"the real node ended.{self._last_words()}")
        return int(children[0])

    def start(self, timeout_s: float = 120.0) -> None:
        """Returns when the node is Ready. Raises RealNodeError and leaves nothing running."""
        if reasons := preflight.reasons():
            raise RealNodeError("a real node cannot run here: " + " ".join(reasons))
        cgroups.sweep(_CGROUP)
        self._prepare()
        deadline_s = time.monotonic() + timeout_s
        command = [sys.executable, "-m", "ingle_lab.realnode.enter", self._cgroup, str(self.lab)]
        try:
            self._outer = spawn(command, self.lab / "logs" / "node.log", detached=False)
            self._say("starting the control plane and the node's programs")
            self._wait("the node to be Ready", self._ready, deadline_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends everything at once by ending the namespaces; nothing is left when it returns."""
        if self._outer is not None:
            self._outer.kill()  # unshare's --kill-child takes the namespaces' first process along
            self._outer.wait()
            self._outer = None
        if left := cgroups.remove(self._cgroup):
            raise RealNodeError(f"cgroups could not be taken away: {', '.join(map(str, left))}.")

    def enter_network(self) -> None:
        """Move this thread, and those it starts from now on, into the node's network. There is no way back."""
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/proc/{self.first_pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns into the node's network")
        finally:
            os.close(descriptor)

    def command(self, *words: str) -> list[str]:
        """The command, to run in all of the node's namespaces."""
        return ["nsenter", f"--target={self.first_pid}", "--mount", "--net", "--pid", "--uts", "--", *words]

    def pids(self, program: str) -> list[int]:
        """Process ids, as seen here, of the node's processes of that name."""
        return [pid for pid, name in self._processes().items() if name == program]

    def kill(self, program: str) -> set[int]:
        """kill -9 of kubelet, containerd or kube-proxy, which is started again after a second; gives its process ids."""
        found = set(self.pids(program))
        if not found:
            raise RealNodeError(f"no {program} runs on the node.")
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def kill_all(self) -> int:
        """kill -9 of the node's programs and of every container, as by a loss of power; gives how many processes.

        The control plane beside the node goes on.
        """
        parents, names = self._parents(), self._processes()
        doomed = {pid for pid, name in names.items() if name in _PROGRAMS or name.startswith(_SHIM)}
        while more := {pid for pid in names if parents.get(pid) in doomed} - doomed:
            doomed |= more
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):  # it ended with its parent
                os.kill(pid, signal.SIGKILL)
        return len(doomed)

    def _processes(self) -> dict[int, str]:
        """Names, by process id as seen here, of the processes below the first one of the namespaces."""
        parents = self._parents()
        inside = {self.first_pid}
        while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
            inside |= more
        found: dict[int, str] = {}
        for pid in inside:
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found

    @staticmethod
    def _parents() -> dict[int, int]:
        found: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        return found

    def _prepare(self) -> None:
        programs = binaries.programs()
        self.lab.mkdir(parents=True, exist_ok=True)
        for stale in ("etcd", "pki", "var", "gpus", "etc"):
            shutil.rmtree(self.lab / stale, ignore_errors=True)
        (self.lab / "inside.json").unlink(missing_ok=True)
        (self.lab / "logs").mkdir(exist_ok=True)
        gpus = self.lab / "gpus"
        gpus.mkdir()
        create_state(gpus / "gpus.state", self._profile, NODE_NAME)
        (gpus / "gpus.state").chmod(0o666)  # agents and engines are users of their own, and none is root
        write_numa(gpus / "numa", load_profile(self._profile))
        told = {
            "programs": {name: str(path) for name, path in programs.items()},
            "nft": str(nft(cache_dir())),
            "gpu_library": str(build_library()),
            "images": [str(path) for path in self._images],
            "time_scale": self._time_scale,
        }
        (self.lab / "realnode.json").write_text(json.dumps(told, indent=1))
        built_folder()

    def _ready(self) -> bool:
        if not (self.lab / "inside.json").exists():
            return False
        words = ["--kubeconfig", str(self.kubeconfig), "get", "node", NODE_NAME]
        words += ["-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}']
        command = self.command(str(self.kubectl), *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout == "True"

    def _wait(self, what: str, check: Callable[[], bool], deadline_s: float) -> None:
        while not check():
            if self._outer is not None and self._outer.poll() is not None:
                raise RealNodeError(f"the real node ended while starting.{self._last_words()}")
            if time.monotonic() > deadline_s:
                raise RealNodeError(f"waited too long for {what}.{self._last_words()}")
            time.sleep(_POLL_S)

    def _last_words(self) -> str:
        path = self.lab / "logs" / "node.log"
        lines = path.read_text(errors="replace").splitlines()[-8:] if path.exists() else []
        return "\n".join([f" Logs are in {self.lab / 'logs'}; the first one ends with:", *lines])
