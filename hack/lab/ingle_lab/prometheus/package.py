"""Debian's package of Prometheus."""

from __future__ import annotations

from pathlib import Path

from ingle_lab.controlplane.binaries import cache_dir
from ingle_lab.debian import unpacked


def programs(cache: Path | None = None) -> Path:
    """Folder with `prometheus` and `promtool`. Raises ControlPlaneError with what to do."""
    return unpacked(cache or cache_dir(), "prometheus", ("prometheus",)) / "usr" / "bin"


def promtool_path(cache: Path | None = None) -> Path:
    return programs(cache) / "promtool"
