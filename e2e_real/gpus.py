"""Memory of the node's GPUs, by the driver itself."""

from __future__ import annotations

import json
import subprocess
import sys

from ingle_lab.realnode import RealNode

LIMIT_S = 30


def used_mib(node: RealNode) -> dict[str, int]:
    """By UUID. Asked in the node's namespaces: outside of them the simulated driver takes its processes for ended."""
    command = (sys.executable, "-m", "ingle_lab.gpu", "show", "--json", str(node.lab / "gpus" / "gpus.state"))
    done = subprocess.run(node.command(*command), capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return {gpu["uuid"]: gpu["used_bytes"] >> 20 for gpu in json.loads(done.stdout)}
