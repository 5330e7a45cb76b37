"""The processes of one control plane: start each, ask whether it is ready, stop it, remember it on disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Final

from ingle_lab.controlplane import processes, state
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.pki import Pair
from ingle_lab.controlplane.processes import ProcessId
from ingle_lab.controlplane.rest import Rest
from ingle_lab.controlplane.settings import ADDRESS

ETCD: Final = "etcd"
APISERVER: Final = "kube-apiserver"
CONTROLLERS: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
_GRACE_S = {SCHEDULER: 2.0, CONTROLLERS: 2.0, APISERVER: 3.0, ETCD: 5.0}  # in the order of stopping
_POLL_S = 0.05
_LOG_TAIL_BYTES = 3000


class Crew:
    """Knows what runs from the state file alone, so several processes may act on one lab folder."""

    def __init__(self, lab: Path, *, detached: bool) -> None:
        self.lab, self._detached = lab, detached
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: dict[str, Rest] = {}

    @property
    def known(self) -> state.State:
        """Read anew each time. Raises ControlPlaneError when the file is gone or broken."""
        found = state.read(self.lab)
        if found is None:
            raise ControlPlaneError(
                f"{self.lab / state.FILE} is gone; what ran there can no longer be found."
            )
        return found

    def log(self, name: str) -> Path:
        return self.lab / "logs" / f"{name}.log"

    def process(self, name: str) -> ProcessId:
        """Raises ControlPlaneError for a name that was never started."""
        started = self.known.processes
        if name not in started:
            raise ControlPlaneError(
                f"no {name!r} was started here; there are: {', '.join(started) or 'none'}."
            )
        return started[name]

    def spawn(self, name: str, command: Sequence[str]) -> None:
        """Start a process; the log of the run before is kept as NAME.log.1."""
        if self.log(name).exists():
            self.log(name).rename(self.log(name).with_suffix(".log.1"))
        child = processes.spawn(command, self.log(name), detached=self._detached)
        self._children[name] = child
        self._remember({**self.known.processes, name: processes.identify(child.pid)})

    def kill(self, name: str) -> None:
        """End it by SIGKILL; returns when it is gone."""
        process = self.process(name)
        processes.send(process, SIGKILL)
        if not processes.wait(process, 10.0):
            raise ControlPlaneError(
                f"{name} (pid {process.pid}) does not end even by SIGKILL; the kernel holds it."
            )
        self._reap(name)

    def stop(self, name: str) -> None:
        """End it by SIGTERM, after a grace by SIGKILL; returns when it is gone."""
        processes.stop(self.process(name), grace_s=_GRACE_S[name])
        self._reap(name)

    def stop_all(self) -> None:
        """End all in the right order; nothing runs when it returns."""
        started = self.known.processes
        for name in _GRACE_S:
            if name in started:
                self.stop(name)
        self._remember({})

    def not_ready(self, name: str) -> str | None:
        """Why a process is not ready, in words; None when it is."""
        if not self.process(name).alive:
            return "it does not run"
        ports = self.known.ports
        port, path = {
            ETCD: (ports.etcd, "/health"),
            APISERVER: (ports.apiserver, "/readyz"),
            CONTROLLERS: (ports.controller_manager, "/healthz"),
            SCHEDULER: (ports.scheduler, "/readyz"),
        }[name]
        return self.client(port, "etcd" if name == ETCD else "admin").says_ok(path)

    def wait_for(self, name: str, deadline_s: float) -> None:
        """Return when it is ready. Raises when it ends, or is not ready at `deadline_s` of the monotonic clock."""
        while reason := self.not_ready(name):
            if not self.process(name).alive:
                raise ControlPlaneError(f"{name} ended while starting. {self._last_words(name)}")
            if time.monotonic() > deadline_s:
                raise ControlPlaneError(f"{name} is not ready in time ({reason}). {self._last_words(name)}")
            processes.wait(self.process(name), _POLL_S)

    def client(self, port: int, identity: str) -> Rest:
        """Client of a server of this control plane, as `identity` (a pair in pki/)."""
        key = f"{identity}:{port}"
        if key not in self._clients:
            pki = self.lab / "pki"
            pair = Pair(pki / f"{identity}.crt", pki / f"{identity}.key")
            self._clients[key] = Rest(ADDRESS, port, str(pki / "ca.crt"), pair)
        return self._clients[key]

    def _remember(self, started: dict[str, ProcessId]) -> None:
        state.write(self.lab, replace(self.known, processes=started))

    def _reap(self, name: str) -> None:
        if child := self._children.pop(name, None):
            child.wait(timeout=10)

    def _last_words(self, name: str) -> str:
        path = self.log(name)
        text = path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace") if path.exists() else ""
        lines = [line[:300] for line in text.splitlines() if line.strip()][-5:]
        return "\n".join([f"Its log is {path}; it ends with:", *lines])
