"""The commands that a person types."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ingle_lab.controlplane import binaries, processes, state
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.plane import ControlPlane
from ingle_lab.controlplane.progress import Progress
from ingle_lab.controlplane.settings import Ports, Settings, lab_dir


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 done (for `status`: ready), 1 failed with a message, 3 not running or not ready, 130 Ctrl-C."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ingle_lab.controlplane", description="The lab's control plane."
    )
    commands = parser.add_subparsers(required=True)
    commands.add_parser("build", help="build the binaries, once").set_defaults(command=_build)
    up = commands.add_parser("up", help="build if needed, start, return when ready")
    up.set_defaults(command=_up)
    up.add_argument("--fresh", action="store_true", help="forget the objects of earlier runs")
    up.add_argument("--foreground", action="store_true", help="stay until Ctrl-C, then stop everything")
    up.add_argument("--default-scheduler", action="store_true", help="run kube-scheduler too")
    up.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"a port other than the usual one; names: {', '.join(Ports().by_name())}; or `auto` for free ones",
    )
    down = commands.add_parser("down", help="stop everything; the data stays")
    down.set_defaults(command=_down)
    status = commands.add_parser("status", help="what runs")
    status.set_defaults(command=_status)
    for each in (up, down, status):
        each.add_argument(
            "--lab", type=Path, default=None, help="folder of the lab (INGLE_LAB_DIR, else .lab)"
        )
    return parser


def parse_ports(words: Sequence[str]) -> Ports | Literal["auto"]:
    """Ports from words such as `apiserver=7443`, or `auto`."""
    if "auto" in words:
        return "auto"
    ports = Ports()
    for word in words:
        name, _, number = word.partition("=")
        if name not in ports.by_name() or not number.isdecimal() or not 0 < int(number) < 65536:
            raise ControlPlaneError(
                f"--port {word}: write NAME=NUMBER, NAME one of {', '.join(ports.by_name())}, "
                "NUMBER from 1 to 65535; or `auto`."
            )
        ports = replace(ports, **{name.replace("-", "_"): int(number)})
    return ports


def _build(_: argparse.Namespace) -> int:
    binaries.build()
    return 0


def _up(options: argparse.Namespace) -> int:
    settings = Settings(ports=parse_ports(options.port), default_scheduler=options.default_scheduler)
    progress = Progress()
    folder = binaries.build(progress=progress)
    detached = not options.foreground
    plane = ControlPlane(
        options.lab, settings, fresh=options.fresh, detached=detached, binaries=folder, say=progress.say
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_at_s = time.monotonic()
    with plane if options.foreground else _StartOnly(plane):
        print(f"ready after {time.monotonic() - started_at_s:.1f} s: {plane.server}")
        print("etcd runs without fsync: objects outlive a killed process, not a crash of the machine")
        print(f"use it: {plane.lab / 'bin' / 'kubectl'} --kubeconfig {plane.kubeconfig} get namespaces")
        if options.foreground:
            print("Ctrl-C stops it", flush=True)
            signal.pause()
    return 0


class _StartOnly:
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def __enter__(self) -> None:
        self._plane.start()

    def __exit__(self, *_: object) -> None:
        """Leaves it running."""


def _down(options: argparse.Namespace) -> int:
    lab = options.lab or lab_dir()
    found = state.read(lab)
    if found is None or not found.alive:
        print(f"nothing runs in {lab}")
        return 0
    plane = ControlPlane.attach(lab)
    names = ", ".join(plane.running)
    plane.stop()
    print(f"stopped {names}")
    return 0


def _status(options: argparse.Namespace) -> int:
    lab = options.lab or lab_dir()
    found = state.read(lab)
    if found is None or not found.alive:
        print(f"nothing runs in {lab}")
        return 3
    plane = ControlPlane.attach(lab)
    print(f"{plane.server}, objects and logs in {plane.lab}")
    ready = True
    for name, process in found.processes.items():
        reason = plane.not_ready(name)
        ready = ready and reason is None
        memory_mib = processes.rss_bytes(process) // 2**20
        print(f"{name:24} pid {process.pid:<8} {memory_mib:>5} MiB  {'ready' if reason is None else reason}")
    return 0 if ready else 3
