"""Control planes that folders of tests use in turn: to start one takes longer than most of what is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, NotFound
from ingle_lab.controlplane import ControlPlane
from ingle_lab.controlplane.testing import FAST, running_control_plane

ROOT = Path(__file__).parents[1]
PATIENT = replace(FAST, node_monitor_grace_s=3600.0)  # nodes are objects: nobody renews their leases
OURS = (names.INFERENCE_POOL, names.ROUTING_POLICY, names.POWER_BUDGET, names.GPU_NODE)
THEIRS = (names.POD, names.EVENT, names.NODE)


class Handover:
    """Gives a control plane to the next folder, without what the one before has left and still runs."""

    def __init__(self) -> None:
        self._leaves: dict[Path, Callable[[], None]] = {}

    def __call__(self, plane: ControlPlane, leaves: Callable[[], None] | None = None) -> ControlPlane:
        """`leaves` stops what the new folder will run beside the control plane; it may be called twice."""
        if (before := self._leaves.pop(plane.lab, None)) is not None:
            before()
        if leaves is not None:
            self._leaves[plane.lab] = leaves
        asyncio.run(_empty(plane))
        return plane


def kubectl(plane: ControlPlane, *words: str) -> None:
    command = [str(plane.kubectl), "--kubeconfig", str(plane.kubeconfig), *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _with_kinds(plane: ControlPlane) -> None:
    kubectl(plane, "apply", "-f", str(ROOT / "crds"))
    kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


@pytest.fixture(scope="session")
def bare_plane() -> Iterator[ControlPlane]:
    """Our kinds, without our rights and policies; a folder that needs rights adds them."""
    with running_control_plane(PATIENT) as plane:
        _with_kinds(plane)
        yield plane


@pytest.fixture(scope="session")
def guarded_plane() -> Iterator[ControlPlane]:
    """Our kinds, accounts, rights and policies; the policies act a moment later."""
    with running_control_plane(PATIENT) as plane:
        kubectl(plane, "apply", "-f", str(ROOT / "charts" / "manifests" / "namespace.yaml"))
        kubectl(plane, "apply", "-f", str(ROOT / "charts" / "manifests"))
        _with_kinds(plane)
        yield plane


@pytest.fixture(scope="session")
def kubernetes_plane() -> Iterator[ControlPlane]:
    """Kubernetes alone; a node that is silent for a few seconds counts as lost."""
    with running_control_plane() as plane:
        yield plane


@pytest.fixture(scope="session")
def handover() -> Handover:
    return Handover()


async def _empty(plane: ControlPlane) -> None:
    """Deletes the objects of our kinds, pods, events and nodes."""
    async with Kube.connect(user_agent="tests", kubeconfig=str(plane.kubeconfig)) as kube:
        for kind in (*OURS, *THEIRS):
            with contextlib.suppress(NotFound):  # where our kinds are not installed
                for obj in (await kube.list(kind))[0]:
                    metadata = obj["metadata"]
                    await kube.delete(kind, metadata["name"], metadata.get("namespace"), grace_s=0)
