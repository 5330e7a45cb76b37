"""The version that was frozen: its chart, and an image of its own processes."""

from __future__ import annotations

import copy
import tarfile
from pathlib import Path

from .cluster import Object

FIXTURES = Path(__file__).parent / "fixtures"
VERSION = "0.1.0"
CHART = FIXTURES / f"ingle-{VERSION}.tgz"
IMAGE = f"ingle.dev/ingle:{VERSION}-frozen"
_SMALL = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
_VALUES: Object = {
    "images": {"ingle": {"tag": IMAGE.rpartition(":")[2]}},
    "pools": {"namespaces": ["chat"]},
    "agent": {"setLimits": True, "resources": _SMALL},
    "operator": {"resources": _SMALL},
    "scheduler": {"resources": _SMALL, "kubeSchedulerResources": _SMALL},
    "gateway": {"drainSeconds": 10, "resources": _SMALL, "envoyResources": _SMALL},
}


def values() -> Object:
    """Values of the frozen chart; a chart of today may name others."""
    return copy.deepcopy(_VALUES)


def unpack_sources(folder: Path) -> Path:
    """The frozen sources, in a folder of their own there."""
    target = folder / f"source-{VERSION}"
    with tarfile.open(FIXTURES / f"ingle-{VERSION}-source.tgz") as archive:
        archive.extractall(target, filter="data")
    return target
