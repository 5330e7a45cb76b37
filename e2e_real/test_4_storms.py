"""Processes of the node are killed; engines and ledger agree again within a minute, and the model answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from ingle_lab.realnode import RealNode

from .cluster import SYSTEM, Cluster, Installed
from .gpus import used_mib

TARGET_S = 60.0


def well(cluster: Cluster) -> bool:
    """Whether engines and ledger agree, all of ours is ready, and the model answers."""
    return not cluster.disagreements() and cluster.own_pods_ready() and bool(cluster.answering("first"))


def settles(cluster: Cluster, node: RealNode, what: str, seen: Callable[[], object]) -> None:
    """From now on, within the target: what was done is `seen`, and everything is well."""
    started_s = time.monotonic()
    cluster.until(f"the lab to be well after {what}", lambda: seen() and well(cluster), TARGET_S)
    print(f"{what}: well after {time.monotonic() - started_s:.1f} s")
    not_oversold(cluster, node)


def not_oversold(cluster: Cluster, node: RealNode) -> None:
    """No GPU holds more than its claims, by the driver itself."""
    (ledger,) = cluster.items("gpunodes")
    held = used_mib(node)
    assert any(held.values())
    for gpu in ledger["spec"]["gpus"]:
        claimed_mib = sum(claim["memoryMiB"] for claim in gpu["claims"])
        assert held[gpu["uuid"]] <= claimed_mib, gpu


@pytest.mark.parametrize("program", ["kubelet", "containerd"])
def test_engines_outlive_a_kill_of(
    cluster: Cluster, installed: Installed, node: RealNode, program: str
) -> None:
    before = engines(cluster)
    killed = node.kill(program)
    settles(cluster, node, f"a kill of {program}", lambda: set(node.pids(program)) - killed)
    assert engines(cluster) == before


@pytest.mark.parametrize("container", ["agent", "setter"])
def test_a_killed_agent_comes_back(
    cluster: Cluster, installed: Installed, node: RealNode, container: str
) -> None:
    """A process of the container kills what it may: those of its own user."""
    where = ("daemonset/ingle-agent", "-c", container)
    before = restarts(cluster, container)
    cluster.try_kubectl("-n", SYSTEM, "exec", *where, "--", "python3", "-c", KILL_AGENT)
    settles(cluster, node, f"a kill of {container}", lambda: restarts(cluster, container) > before)


KILL_AGENT = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        words = (folder / "cmdline").read_bytes().split(bytes(1))
    except OSError:
        continue
    if any(word.endswith(b"/ingle-agent") for word in words) and folder.stat().st_uid == os.getuid():
        os.kill(int(folder.name), signal.SIGKILL)
"""


def restarts(cluster: Cluster, container: str) -> int:
    (pod,) = cluster.items("pods", "-n", SYSTEM, "-l", "ingle.dev/component=agent")
    return next(int(c["restartCount"]) for c in pod["status"]["containerStatuses"] if c["name"] == container)


def engines(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.items("pods", "-n", "chat")}


def test_the_node_comes_back_after_all_its_processes_are_killed(
    cluster: Cluster, installed: Installed, node: RealNode
) -> None:
    before = engines(cluster)
    print(f"killed {node.kill_all()} processes")
    settles(cluster, node, "a kill of everything", lambda: engines(cluster).isdisjoint(before))
