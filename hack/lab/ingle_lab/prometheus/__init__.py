"""A real Prometheus from Debian's package, unpacked into the cache without root and run on loopback."""

from __future__ import annotations

from ingle_lab.prometheus.package import promtool_path, unpacked
from ingle_lab.prometheus.server import Prometheus, backfill

__all__ = ["Prometheus", "backfill", "promtool_path", "unpacked"]
