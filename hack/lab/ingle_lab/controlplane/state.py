"""What runs in a lab folder: `.lab/controlplane.json`, so that another command can find and stop it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.pki import write_private
from ingle_lab.controlplane.processes import ProcessId
from ingle_lab.controlplane.settings import Ports, Settings

FILE = "controlplane.json"


@dataclass(frozen=True)
class State:
    """Settings with the ports in use, the folder of the binaries, and the processes by name.

    `owner` is the process with which they all end; None when they are detached.
    """

    settings: Settings
    ports: Ports
    binaries: Path
    owner: ProcessId | None
    processes: dict[str, ProcessId] = field(default_factory=dict)

    @property
    def alive(self) -> dict[str, ProcessId]:
        return {name: process for name, process in self.processes.items() if process.alive}


def read(lab: Path) -> State | None:
    """None when nothing was ever started there. Raises ControlPlaneError when the file is broken."""
    path = lab / FILE
    try:
        content = json.loads(path.read_text())
        chosen = content["settings"]
        if chosen["ports"] != "auto":
            chosen["ports"] = Ports(**chosen["ports"])
        processes = {name: ProcessId(**value) for name, value in content["processes"].items()}
        owner = ProcessId(**content["owner"]) if content["owner"] else None
        ports = Ports(**content["ports"])
        return State(Settings(**chosen), ports, Path(content["binaries"]), owner, processes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ControlPlaneError(
            f"{path} cannot be read ({error}); it may be of another version. See with `ps` whether etcd or "
            f"kube-apiserver run from this folder, stop them, and remove {path}."
        ) from error


def write(lab: Path, state: State) -> None:
    content = {
        "settings": asdict(state.settings),
        "ports": asdict(state.ports),
        "binaries": str(state.binaries),
        "owner": asdict(state.owner) if state.owner else None,
        "processes": {name: asdict(process) for name, process in state.processes.items()},
    }
    write_private(lab / FILE, json.dumps(content, indent=1).encode())
