"""Checks made before anything starts: disk and ports."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError

GIB_BYTES = 1024**3


def nearest_existing(path: Path) -> Path:
    """The path itself or the closest parent that exists."""
    while not path.exists():
        path = path.parent
    return path


def check_disk(
    path: Path, need_bytes: int, purpose: str, *, change: str, free_bytes: int | None = None
) -> None:
    """Raise when less than `need_bytes` are free where `path` is or will be.

    `change` is the variable that moves the folder elsewhere. `free_bytes` stands for the reading of the disk.
    """
    if free_bytes is None:
        free_bytes = shutil.disk_usage(nearest_existing(path)).free
    if free_bytes < need_bytes:
        raise ControlPlaneError(
            f"only {free_bytes / GIB_BYTES:.1f} GiB free at {path}, but {purpose} needs "
            f"{need_bytes / GIB_BYTES:.1f} GiB. Free some space, or put the folder on another disk with {change}."
        )


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ControlPlaneError(f"cannot listen on {address}:{port}: {error.strerror}.") from error
    return True


def check_ports(address: str, ports: Mapping[str, int]) -> None:
    """Raise when one of the named ports is taken, telling by whom."""
    for name, port in ports.items():
        if not port_is_free(address, port):
            raise ControlPlaneError(
                f"port {port} on {address}, wanted for {name}, is in use by {port_owner(port)}. "
                f"Stop that process, or choose another port with --port {name}=NUMBER or --port auto."
            )


def port_owner(port: int) -> str:
    """'NAME (pid N)' of the process that listens on a port, or 'another process' when it cannot be seen."""
    inodes = set(_listening_inodes(port))
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if not inodes.isdisjoint(_links(folder)):
                return f"{(folder.parent / 'comm').read_text().strip()} (pid {folder.parent.name})"
        except OSError:
            continue  # gone meanwhile, or another user's
    return "another process"


def _links(folder: Path) -> Iterable[str]:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            yield os.readlink(path)


def _listening_inodes(port: int) -> Iterable[str]:
    listen = "0A"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listen and int(fields[1].rsplit(":", 1)[1], 16) == port:
                yield f"socket:[{fields[9]}]"
