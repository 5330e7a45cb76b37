"""Files of Debian packages: downloaded by apt once, unpacked into the cache, never installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ingle_lab.controlplane.binaries import one_build_at_a_time
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.progress import Progress

LIMIT_S = 120.0


def unpacked(cache: Path, name: str, packages: Sequence[str]) -> Path:
    """The folder of the cache that holds the packages' files, as `name`. Raises ControlPlaneError with what to do."""
    root = cache / "debian"
    if not (root / name).exists():
        with one_build_at_a_time(root, Progress()):
            if not (root / name).exists():
                _fetch(root, name, packages)
    return root / name


def _fetch(root: Path, name: str, packages: Sequence[str]) -> None:
    partial = root / f"{name}.partial"
    partial.mkdir()
    try:
        _download(packages, partial)
        for archive in sorted(partial.glob("*.deb")):
            _run(["dpkg-deb", "-x", archive.name, "."], partial)
            archive.unlink()
        partial.rename(root / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(packages: Sequence[str], folder: Path) -> None:
    """With the machine's package index, else with one of our own beside it: apt's own may be missing or old."""
    try:
        _run(["apt-get", "download", *packages], folder)
    except ControlPlaneError:
        index = folder / "index"
        (index / "lists" / "partial").mkdir(parents=True)
        options = ["-o", f"Dir::State::lists={index / 'lists'}", "-o", f"Dir::Cache={index}"]
        _run(["apt-get", *options, "update"], folder)
        _run(["apt-get", *options, "download", *packages], folder)
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
            f"`{' '.join(command)}` failed: {' '.join(reason) or 'no reason given'}. This needs Debian or Ubuntu and a"
            " reachable mirror; with both, try `apt-get update` and again."
        )
