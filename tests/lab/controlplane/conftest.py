"""One control plane for all tests here that do not break it, and kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.controlplane import ControlPlane

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def plane(kubernetes_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> ControlPlane:
    return handover(kubernetes_plane)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """kubectl(plane, *words, kubeconfig=None, stdin=None): as administrator unless a kubeconfig is given."""

    def call(
        plane: ControlPlane, *words: str, kubeconfig: Path | None = None, stdin: Any = None
    ) -> subprocess.CompletedProcess[str]:
        command = [str(plane.kubectl), "--kubeconfig", str(kubeconfig or plane.kubeconfig), *words]
        text = None if stdin is None else json.dumps(stdin)
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)

    return call
