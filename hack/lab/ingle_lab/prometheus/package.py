"""Debian's package of Prometheus: downloaded by apt once, unpacked and never installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ingle_lab.controlplane.binaries import cache_dir, one_build_at_a_time
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.progress import Progress

PACKAGE = "prometheus"
LIMIT_S = 120.0


def unpacked(cache: Path | None = None) -> Path:
    """Folder with `prometheus` and `promtool`. Raises ControlPlaneError with what to do."""
    root = (cache or cache_dir()) / "prometheus"
    folder = root / "package" / "usr" / "bin"
    if not folder.exists():
        with one_build_at_a_time(root, Progress()):
            if not folder.exists():
                _fetch(root)
    return folder


def promtool_path(cache: Path | None = None) -> Path:
    return unpacked(cache) / "promtool"


def _fetch(root: Path) -> None:
    partial = root / "package.partial"
    partial.mkdir()
    try:
        _download(partial)
        (archive,) = partial.glob("*.deb")
        _run(["dpkg-deb", "-x", archive.name, "."], partial)
        archive.unlink()
        partial.rename(root / "package")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(folder: Path) -> None:
    """With the machine's package index, else with one of our own beside it: apt's own may be missing or old."""
    try:
        _run(["apt-get", "download", PACKAGE], folder)
    except ControlPlaneError:
        index = folder / "index"
        (index / "lists" / "partial").mkdir(parents=True)
        options = ["-o", f"Dir::State::lists={index / 'lists'}", "-o", f"Dir::Cache={index}"]
        _run(["apt-get", *options, "update"], folder)
        _run(["apt-get", *options, "download", PACKAGE], folder)
        shutil.rmtree(index)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        reason = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except FileNotFoundError:
        reason = ["there is no such command"]
    except subprocess.TimeoutExpired:
        reason = [f"no answer in {LIMIT_S:.0f} s"]
    if reason is not None:
        raise ControlPlaneError(
            f"`{command[0]}` could not fetch Debian's package {PACKAGE}: {' '.join(reason) or 'no reason given'}. This"
            " needs Debian or Ubuntu and a reachable mirror; with both, try `apt-get update` and again."
        )
