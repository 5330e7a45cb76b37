"""`python -m ingle_lab.realnode build|check|ready|up`: the real node, until Ctrl-C."""

from __future__ import annotations

import signal
import sys

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.settings import lab_dir
from ingle_lab.images import build_archive
from ingle_lab.realnode import RealNode, binaries, preflight


def main(words: list[str]) -> int:
    """Exit code: 0 done, 1 failed with a message, 2 wrong words, 3 this machine cannot run it."""
    commands = {"build": _build, "check": _check, "ready": _ready, "up": _up}
    if len(words) != 1 or words[0] not in commands:
        print("usage: python -m ingle_lab.realnode build|check|ready|up", file=sys.stderr)
        return 2
    try:
        return commands[words[0]]()
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _build() -> int:
    for name, path in binaries.build().items():
        print(f"{name}\t{path}")
    return 0


def _check() -> int:
    found = preflight.reasons()
    for reason in found:
        print(f"a real node cannot run here: {reason}", file=sys.stderr)
    return 3 if found else 0


def _ready() -> int:
    """As `check`, and whether all is built."""
    found = _check()
    try:
        binaries.programs()
    except ControlPlaneError as error:
        print(f"a real node is not built here: {error}", file=sys.stderr)
        return 3
    return found


def _up() -> int:
    if code := _check():
        return code
    binaries.build()
    lab = lab_dir() / "real"
    node = RealNode(lab, [build_archive(lab)], say=print)
    node.start()
    try:
        print(
            f"the node is Ready. In another terminal:\n  {' '.join(node.command(str(node.kubectl)))}", end=" "
        )
        print(f"--kubeconfig {node.kubeconfig} get pods -A")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pause()
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
