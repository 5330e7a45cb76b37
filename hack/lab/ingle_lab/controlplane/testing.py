"""A control plane for tests: ports of its own, a folder of its own, gone at the end."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ingle_lab.controlplane.plane import ControlPlane
from ingle_lab.controlplane.settings import Settings

FAST = Settings(
    ports="auto", node_monitor_period_s=0.5, node_monitor_grace_s=4.0, pod_eviction_s=2, node_eviction_rate=10
)
"""Settings under which a lost node is noticed and emptied within seconds."""


@contextlib.contextmanager
def running_control_plane(settings: Settings = FAST, *, lab: Path | None = None) -> Iterator[ControlPlane]:
    """A ready control plane without objects. Several can run at once; the folder is removed unless given."""
    with contextlib.ExitStack() as stack:
        folder = lab or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingle-lab-")))
        plane = ControlPlane(folder, replace(settings, ports="auto"), fresh=True)
        yield stack.enter_context(plane)
