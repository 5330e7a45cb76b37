"""A real Prometheus from Debian's package, unpacked into the cache without root and run on loopback."""

from __future__ import annotations

from ingle_lab.prometheus.package import programs, promtool_path
from ingle_lab.prometheus.server import Prometheus, backfill

__all__ = ["Prometheus", "backfill", "programs", "promtool_path"]
