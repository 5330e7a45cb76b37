"""What the program reads: its nodes, the table of images and the lab's folder."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ingle_kit.names import RESOURCE_NVIDIA_GPU
from ingle_lab.node.quantity import parse_quantity


class ConfigError(ValueError):
    """The configuration cannot be used; the text says what to change and where."""


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that is more than first words: a container's `command` takes the place of `entrypoint`, as it does in a
    real one, and finds the programs of the folder `bin` before all others."""

    entrypoint: list[str]
    bin: str = ""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node. `address` is 127.x.y.z; pods get the addresses after it. `env` goes to each of its processes.

    `gpus`: UUIDs that are offered as `nvidia.com/gpu`, as the stock device plugin does; who got which is told on the
    pod-resources socket.
    """

    name: str
    address: str
    kubeconfig: str
    labels: dict[str, str] = {}
    capacity: dict[str, str | int] = {}
    env: dict[str, str] = {}
    taints: list[dict[str, str]] = []
    gpus: list[str] = []

    def resources(self) -> dict[str, str]:
        """Capacity and allocatable: what is configured, over 16 CPUs, 64 GiB and 110 pods."""
        given = {name: str(amount) for name, amount in self.capacity.items()}
        offered = {RESOURCE_NVIDIA_GPU: str(len(self.gpus))} if self.gpus else {}
        return {"cpu": "16", "memory": "64Gi", "pods": "110"} | offered | given


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `images` maps a pattern (fnmatch, first match wins) to the first words of a command, or to more."""

    nodes: list[NodeConfig]
    images: dict[str, list[str] | Image]
    lab_dir: str
    control_socket: str = ""
    lease_duration_s: int = 40
    log_bytes_max: int = 20 * 1024 * 1024
    version: str = "v1.37.2"

    def socket_path(self) -> Path:
        """Where the switch of the nodes listens: `control_socket`, or node.sock in the lab's folder."""
        return Path(self.control_socket) if self.control_socket else Path(self.lab_dir) / "node.sock"


def load_config(path: Path) -> Config:
    """Reads and checks a YAML file. Raises ConfigError."""
    try:
        return checked(msgspec.convert(yaml.safe_load(path.read_text()), Config))
    except (OSError, yaml.YAMLError, msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def checked(config: Config) -> Config:
    """The same configuration once its nodes make sense together. Raises ConfigError."""
    if not config.nodes:
        raise ConfigError("nodes: name at least one node")
    if config.lease_duration_s < 1:
        raise ConfigError("lease_duration_s: must be 1 or more")
    _unique("name", [node.name for node in config.nodes])
    _unique("address", [node.address for node in config.nodes])
    for node in config.nodes:
        where = f"nodes: {node.name}"
        _try(f"{where}: address", ipaddress.IPv4Address, node.address)
        if not ipaddress.IPv4Address(node.address).is_loopback:
            raise ConfigError(f"{where}: address: {node.address} is not in 127.0.0.0/8")
        if not Path(node.kubeconfig).is_file():
            raise ConfigError(f"{where}: kubeconfig: no file {node.kubeconfig}")
        for name, amount in node.resources().items():
            _try(f"{where}: capacity: {name}", parse_quantity, amount)
    return config


def _unique(field: str, values: list[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ConfigError(f"nodes: two have the {field} {twice[0]}")


def _try(where: str, read: Callable[[str], Any], value: str) -> None:
    try:
        read(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
