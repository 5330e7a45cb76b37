"""The running control plane: start, wait until ready, break on purpose, stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ingle_lab.controlplane import binaries as built
from ingle_lab.controlplane import flags, identities, processes, state
from ingle_lab.controlplane.crew import APISERVER, CONTROLLERS, ETCD, SCHEDULER, Crew
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.kubeconfig import write_kubeconfig
from ingle_lab.controlplane.preflight import check_disk, check_ports, port_is_free
from ingle_lab.controlplane.processes import ProcessId
from ingle_lab.controlplane.settings import ADDRESS, Ports, Settings, lab_dir, pick_free_ports
from ingle_lab.controlplane.tokens import request_token

_POLL_S = 0.05


class ControlPlane:
    """etcd, kube-apiserver, kube-controller-manager and, when asked for, kube-scheduler, all on 127.0.0.1.

    All methods block; call them from a coroutine with `asyncio.to_thread`. Unless `detached`, everything ends with
    this Python process, however it ends. Data of an earlier run is kept unless `fresh`.
    """

    def __init__(
        self,
        lab: Path | None = None,
        settings: Settings | None = None,
        *,
        fresh: bool = False,
        detached: bool = False,
        binaries: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.lab = (lab or lab_dir()).absolute()
        self.settings = settings or Settings()
        self._fresh, self._detached, self._say = fresh, detached, say
        self._binaries = binaries
        self._started: Crew | None = None

    @classmethod
    def attach(cls, lab: Path | None = None) -> ControlPlane:
        """The control plane that another process started in this folder. Raises when nothing runs there."""
        plane = cls(lab, detached=True)
        found = state.read(plane.lab)
        if found is None or not found.alive:
            raise ControlPlaneError(
                f"no control plane runs in {plane.lab}. Start one: python -m ingle_lab.controlplane up"
            )
        plane.settings, plane._binaries = found.settings, found.binaries
        plane._started = Crew(plane.lab, detached=True)
        return plane

    @property
    def ports(self) -> Ports:
        return self._crew.known.ports

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{ADDRESS}:{self.ports.apiserver}"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator (group system:masters)."""
        return self.lab / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON object a line for every create, update, patch and delete."""
        return self.lab / "audit.log"

    @property
    def kubectl(self) -> Path:
        return self._crew.known.binaries / "kubectl"

    @property
    def ca_pem(self) -> bytes:
        return identities.authority(self.lab).ca_pem

    @property
    def running(self) -> dict[str, ProcessId]:
        """The processes that run now, by name."""
        return self._started.known.alive if self._started else {}

    @property
    def _crew(self) -> Crew:
        if self._started is None:
            raise ControlPlaneError("the control plane is not started: call start() first.")
        return self._started

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 60.0) -> None:
        """Start everything and return when it is ready. Raises ControlPlaneError and leaves nothing running."""
        self.lab.mkdir(parents=True, exist_ok=True)
        with _one_start_at_a_time(self.lab):
            earlier = _left_over(self.lab)
            binaries = self._binaries or built.built_folder()
            check_disk(self.lab, self.settings.need_bytes, "the lab", change="INGLE_LAB_DIR")
            ports = self._choose_ports(earlier)
            if self._fresh:
                self._remove_data()
            owner = None if self._detached else processes.identify(os.getpid())
            state.write(self.lab, state.State(self.settings, ports, binaries, owner))
            self._started = Crew(self.lab, detached=self._detached)
            self._start_all(time.monotonic() + timeout_s)

    def _start_all(self, deadline_s: float) -> None:
        try:
            for name in self._names():
                self._start_one(name, deadline_s)
            self._wait_for_accounts(deadline_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes; nothing is left when it returns. Data stays. May be called twice."""
        if self._started is not None:
            self._started.stop_all()

    def kill(self, name: str) -> None:
        """Kill one process (`etcd`, `kube-apiserver`, ...) with -9; returns when it is gone."""
        self._crew.kill(name)

    def restart(self, name: str, timeout_s: float = 60.0) -> None:
        """Stop one process if it runs, start it again and return when it is ready."""
        self._crew.stop(name)
        self._start_one(name, time.monotonic() + timeout_s)

    def not_ready(self, name: str) -> str | None:
        """Why a process is not ready, in words; None when it is."""
        return self._crew.not_ready(name)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when every part is ready. Raises ControlPlaneError with the reason of the one that is not."""
        deadline_s = time.monotonic() + timeout_s
        for name in self._names():
            self._crew.wait_for(name, deadline_s)

    def node_kubeconfig(self, name: str) -> Path:
        """Write and give `nodes/NAME/kubeconfig` in the lab folder, with the identity of that node's kubelet."""
        return identities.node_kubeconfig(self.lab, self.server, name)

    def token_kubeconfig(self, path: Path, token: str) -> Path:
        """Write and give a kubeconfig whose identity is that token."""
        return write_kubeconfig(path, self.server, self.ca_pem, token=token)

    def service_account_token(
        self,
        namespace: str,
        name: str,
        *,
        bound_kind: str | None = None,
        bound_name: str | None = None,
        bound_uid: str | None = None,
        audiences: Sequence[str] = (),
        expiration_s: int = 3600,
    ) -> str:
        """A token of a service account, asked for as administrator; see `tokens.request_token`."""
        return request_token(
            self._crew.client(self.ports.apiserver, "admin"),
            namespace,
            name,
            bound_kind=bound_kind,
            bound_name=bound_name,
            bound_uid=bound_uid,
            audiences=audiences,
            expiration_s=expiration_s,
        )

    def _names(self) -> list[str]:
        return [ETCD, APISERVER, CONTROLLERS, *([SCHEDULER] if self.settings.default_scheduler else [])]

    def _start_one(self, name: str, deadline_s: float) -> None:
        self._say(f"starting {name}")
        files = identities.prepare(self.lab, self._crew.known.binaries, self.server)
        if name == ETCD:
            command = flags.etcd(files, self.ports)
        elif name == APISERVER:
            command = flags.apiserver(files, self.ports, self.settings)
        elif name == CONTROLLERS:
            command = flags.controller_manager(files, self.ports, self.settings)
        else:
            command = flags.scheduler(files, self.ports)
        self._crew.spawn(name, command)
        self._crew.wait_for(name, deadline_s)

    def _choose_ports(self, earlier: state.State | None) -> Ports:
        """With `auto`, the ports of the run before when they are free: kubeconfigs of nodes stay good."""
        if self.settings.ports == "auto":
            before = earlier.ports.by_name().values() if earlier else ()
            if earlier and all(port_is_free(ADDRESS, port) for port in before):
                return earlier.ports
            return pick_free_ports()
        unused = () if self.settings.default_scheduler else ("scheduler",)
        wanted = {name: port for name, port in self.settings.ports.by_name().items() if name not in unused}
        check_ports(ADDRESS, wanted)
        return self.settings.ports

    def _remove_data(self) -> None:
        for folder in ("etcd", "pki"):
            shutil.rmtree(self.lab / folder, ignore_errors=True)
        for stale in (*self.lab.glob("audit*.log"), *self.lab.glob("nodes/*/kubeconfig")):
            stale.unlink()

    def _wait_for_accounts(self, deadline_s: float) -> None:
        """Pods need the account `default`; once it is there, the controllers do their work."""
        api = self._crew.client(self.ports.apiserver, "admin")
        while reason := api.says_ok("/api/v1/namespaces/default/serviceaccounts/default"):
            if time.monotonic() > deadline_s:
                raise ControlPlaneError(
                    f"the controllers made no service account in time ({reason}). "
                    f"Look at {self._crew.log(CONTROLLERS)}."
                )
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _one_start_at_a_time(lab: Path) -> Iterator[None]:
    with (lab / "controlplane.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ControlPlaneError(
                f"another command starts the control plane in {lab} just now; wait for it."
            ) from None
        yield


def _left_over(lab: Path) -> state.State | None:
    """The state of the run before. Raises ControlPlaneError when it still runs."""
    earlier = state.read(lab)
    if earlier is None:
        return None
    if earlier.owner and not earlier.owner.alive:
        for process in earlier.alive.values():  # its owner was killed: they are about to end
            processes.wait(process, 10.0)
    if earlier.alive:
        raise ControlPlaneError(
            f"a control plane runs in {lab} already ({', '.join(earlier.alive)}). "
            "Stop it first: python -m ingle_lab.controlplane down"
        )
    return earlier
