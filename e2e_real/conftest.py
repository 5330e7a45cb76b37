"""One real node for the session, with the chart installed on it by Helm; the tests go in order through its life."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingle_lab.controlplane import build as build_control_plane
from ingle_lab.helm import build as build_helm
from ingle_lab.images import build_archive
from ingle_lab.realnode import RealNode, binaries, preflight

from . import frozen
from .cluster import Cluster, Installed, first_pool

LIMIT_S = 400
SMALL = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
VALUES = {
    "pools": {"namespaces": ["chat"]},
    "agent": {"setLimits": True, "podResources": True, "resources": SMALL},
    "operator": {"resources": SMALL},
    "scheduler": {"resources": SMALL, "kubeSchedulerResources": SMALL},
    "gateway": {"drainSeconds": 10, "resources": SMALL, "envoyResources": SMALL},
}
"""Smaller than the chart's requests, so that what an upgrade starts beside the old pods fits two cores with any engines: else
the scheduler would end some to make room."""


def pytest_sessionstart() -> None:
    if reasons := preflight.reasons():
        pytest.exit("a real node cannot run here: " + " ".join(reasons), returncode=3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting the node and rolling every part out twice take minutes on a busy machine."""
    for item in items:
        item.add_marker(pytest.mark.timeout(LIMIT_S), append=False)


@pytest.fixture(scope="session")
def lab() -> Iterator[Path]:
    """The lab's folder; kept, with its logs, where INGLE_E2E_LAB names it."""
    if named := os.environ.get("INGLE_E2E_LAB"):
        yield Path(named).absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="ingle-real-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def node(lab: Path) -> Iterator[RealNode]:
    """Ready, with all images. From here on this process is in the node's network."""
    build_control_plane()
    binaries.build()
    older = {frozen.IMAGE: frozen.unpack_sources(lab)}
    made = RealNode(lab, [build_archive(lab, older)], say=print)
    made.start()
    made.enter_network()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def cluster(node: RealNode) -> Cluster:
    """The API as administrator, with what a cluster of the user would have: a namespace, NVIDIA's RuntimeClass."""
    cluster = Cluster(node.kubectl, build_helm() / "helm", node.kubeconfig)
    make_runtime_class(cluster)
    make_namespace(cluster)
    return cluster


def make_runtime_class(cluster: Cluster) -> None:
    """NVIDIA's, as its operator makes it."""
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "nvidia"}
    cluster.apply(runtime | {"metadata": {"name": "nvidia"}})


def make_namespace(cluster: Cluster) -> None:
    """Where the pool is."""
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat", "labels": labels}})


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Installed:
    """`helm install` and a first pool, timed until it answers."""
    started_s = time.monotonic()
    cluster.helm("install", "--create-namespace", values=VALUES)
    cluster.apply(first_pool())
    gateway = cluster.until("the first answer", lambda: cluster.answering("first"), 180)
    return Installed(VALUES, gateway, time.monotonic() - started_s, time.monotonic())


@pytest.fixture(autouse=True)
def tell_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the cluster looks like, where a test has failed."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "cluster" in request.fixturenames:
        print(request.getfixturevalue("cluster").picture(), file=sys.stderr)
