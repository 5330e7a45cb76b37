"""What all pods of a node share."""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ingle_kit.kube import Kube
from ingle_lab.node.addresses import AddressPool
from ingle_lab.node.config import Config, ConfigError, NodeConfig
from ingle_lab.node.devices import Devices
from ingle_lab.node.process import MARK, Process

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


@dataclass(frozen=True)
class ApiServer:
    """Address of the API server and the certificate authority that vouches for it (PEM)."""

    host: str
    port: int
    ca: bytes


def api_server_of(kubeconfig: Path) -> ApiServer:
    """The cluster of a kubeconfig's current context. Raises ConfigError."""
    try:
        content = yaml.safe_load(kubeconfig.read_text())
        contexts = {entry["name"]: entry["context"] for entry in content["contexts"]}
        clusters = {entry["name"]: entry["cluster"] for entry in content["clusters"]}
        cluster = clusters[contexts[content["current-context"]]["cluster"]]
        url = urlsplit(cluster["server"])
        if "certificate-authority-data" in cluster:
            ca = b64decode(cluster["certificate-authority-data"])
        else:
            ca = (kubeconfig.parent / cluster["certificate-authority"]).read_bytes()
        return ApiServer(url.hostname or "127.0.0.1", url.port or 443, ca)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"kubeconfig {kubeconfig}: cannot find its cluster: {error!r}") from error


@dataclass
class NodeContext:
    """One node's identity, folders and switches. Make it inside a running loop.

    `online` unset: the node is silent towards the API. `power` unset: nothing starts.
    """

    config: NodeConfig
    program: Config
    kube: Kube
    api: ApiServer
    addresses: AddressPool
    online: asyncio.Event = field(default_factory=asyncio.Event)
    power: asyncio.Event = field(default_factory=asyncio.Event)
    devices: Devices = field(init=False)
    processes: set[Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.devices = Devices(self.config.gpus, self.folder / "devices.json")

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def folder(self) -> Path:
        return Path(self.program.lab_dir).resolve() / "nodes" / self.name

    @property
    def mark(self) -> str:
        """In the environment of every process of this node, so that it can be found again."""
        return str(self.folder)

    def pod_folder(self, uid: str) -> Path:
        return self.folder / "pods" / uid

    def log_path(self, namespace: str, pod: str, container: str) -> Path:
        return Path(self.program.lab_dir).resolve() / "logs" / f"{namespace}_{pod}_{container}.log"

    @property
    def host_folder(self) -> Path:
        """What stands for the root of the node's own disk."""
        return self.folder / "host"

    @property
    def claims_folder(self) -> Path:
        """What stands for network storage: the same on every node."""
        return Path(self.program.lab_dir).resolve() / "claims"

    def base_env(self, programs: str = "") -> dict[str, str]:
        """Environment of every process before its own: little of ours, then the node's. `programs`: before PATH."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        env = inherited | self.config.env | {MARK: self.mark}
        if programs:
            env["PATH"] = os.pathsep.join((programs, env.get("PATH", os.defpath)))
        return env

    def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log_path: Path) -> Process:
        """Starts a process that ends with the node. Raises OSError."""
        if not argv:
            raise FileNotFoundError("no command: the image's words, command and args are all empty")
        cwd.mkdir(parents=True, exist_ok=True)
        self.processes = {process for process in self.processes if process.alive}
        process = Process.start(argv, env, cwd, log_path)
        self.processes.add(process)
        return process
