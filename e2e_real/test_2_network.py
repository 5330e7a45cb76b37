"""NetworkPolicies on a real node, which `kube-network-policies` enforces: who reaches which port, tried inside pods.

A refused connection has reached the pod: the policy lets it pass, nobody listens there. A policy that keeps it out
leaves it without an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from .cluster import SYSTEM, Cluster, Installed
from .pods import resting, running

TRY = """
import concurrent.futures, json, socket, sys
def reaches(target):
    address, port = target.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), timeout=3).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return True
targets = sys.argv[1:]
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(reaches, targets)))))
"""
PORTS = {
    "engine": (8000, 8001, 9000),
    "operator": (9480,),
    "scheduler": (9490, 10259),
    "gateway": (8080, 8081, 9002, 9003, 9471, 9472),
    "agent": (9470,),
}
GATEWAY = {("gateway", 8080)}
ENGINE = {("engine", port) for port in PORTS["engine"]}
REACHES = {
    "stranger": GATEWAY,
    "impostor": GATEWAY,
    "neighbour": GATEWAY,
    "agent": GATEWAY,
    "scheduler": GATEWAY,
    "gateway": GATEWAY | ENGINE,
    "operator": GATEWAY | ENGINE | {("gateway", 9471), ("agent", 9470)},
}
OURS = {"agent": "agent", "scheduler": "extender", "gateway": "router", "operator": "operator"}
GUESTS = {
    "stranger": ("elsewhere", {}),
    "impostor": ("elsewhere", {"ingle.dev/component": "operator"}),
    "neighbour": ("chat", {"app": "web"}),
}


@pytest.fixture(scope="module")
def guests(cluster: Cluster, installed: Installed) -> Iterator[None]:
    """Pods that are none of ours: in another namespace, there with our label, and beside the engine."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    for name, (namespace, labels) in GUESTS.items():
        cluster.apply(resting(cluster, namespace, name, labels))
    for name, (namespace, _) in GUESTS.items():
        cluster.until(f"{name} to run", partial(running, cluster, namespace, name), 60)
    yield
    cluster.kubectl("delete", "pod", "neighbour", "-n", "chat")
    cluster.kubectl("delete", "namespace", "elsewhere", "--timeout=60s")


def of_part(cluster: Cluster, part: str) -> list[tuple[str, str]]:
    """Name and address of its pods, in the order of their names."""
    words = (
        ("-n", "chat", "-l", "ingle.dev/pool=first")
        if part == "engine"
        else ("-n", SYSTEM, "-l", f"ingle.dev/component={part}")
    )
    pods = [pod for pod in cluster.items("pods", *words) if "deletionTimestamp" not in pod["metadata"]]
    return sorted((pod["metadata"]["name"], pod["status"]["podIP"]) for pod in pods)


def reached(cluster: Cluster, source: str) -> set[tuple[str, int]]:
    """The ports that it reaches, of pods other than itself."""
    own = of_part(cluster, source)[0] if source in OURS else None
    targets = {
        f"{address}:{port}": (part, port)
        for part, ports in PORTS.items()
        for pod, address in of_part(cluster, part)
        for port in ports
        if (pod, address) != own
    }
    where = (SYSTEM, own[0], OURS[source]) if own else (GUESTS[source][0], source, "main")
    words = ("-n", where[0], "exec", where[1], "-c", where[2], "--", "python3", "-c", TRY, *targets)
    answers = json.loads(cluster.kubectl(*words))
    return {targets[target] for target, passed in answers.items() if passed}


@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize("source", REACHES)
def test_each_pod_reaches_what_its_work_needs_and_no_more(cluster: Cluster, source: str) -> None:
    assert reached(cluster, source) == REACHES[source]
