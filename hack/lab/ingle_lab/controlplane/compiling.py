"""Compiles programs of a pinned Go module into a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.golang import Go
from ingle_lab.controlplane.processes import tethered
from ingle_lab.controlplane.progress import Progress, follow

_NO_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|(Get|reading) \"?https?://|module lookup disabled"
)


def compile_into(
    target: Path,
    go: Go,
    module: Path,
    packages: Mapping[str, str],
    linker_flags: str,
    progress: Progress,
    extra: Mapping[str, str] | None = None,
) -> None:
    """`packages`, by the program's name, into `target`/bin, which appears only when all are there.

    `extra` adds variables for Go. Raises ControlPlaneError with what to do.
    """
    partial = target.with_name(f"{target.name}.partial")
    (partial / "bin").mkdir(parents=True)
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        **(extra or {}),
    }
    try:
        for number, (name, package) in enumerate(packages.items(), start=1):
            command = [str(go.command), "build", "-v", "-trimpath", "-ldflags", linker_flags]
            command += ["-o", f"{partial}/bin/{name}", package]
            _compile(command, module, environment, progress, f"[{number}/{len(packages)}] {name}")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _compile(
    command: list[str], module: Path, environment: Mapping[str, str], progress: Progress, title: str
) -> None:
    process = subprocess.Popen(
        tethered(command),
        cwd=module,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        code, tail = follow(process, progress, title)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code != 0:
        raise ControlPlaneError(explain_failure(title, tail, module))


def explain_failure(title: str, lines: list[str], module: Path) -> str:
    """A message for a person from the last lines that Go printed."""
    text = "\n".join(lines[-12:])
    if _NO_NETWORK.search(text):
        advice = (
            "Go could not download a module. Check the network; behind a proxy set GOPROXY (and HTTPS_PROXY) "
            "to an address that serves Go modules, then run the command again: it goes on where it stopped."
        )
    elif "no space left on device" in text:
        advice = "The disk is full. Free some space (6 GiB are needed) or move INGLE_CACHE_DIR and GOCACHE."
    elif "signal: killed" in text:
        advice = "A compiler was killed, most likely for lack of memory: 4 GiB are needed."
    else:
        advice = f"Check that {module.parent.name}/{module.name} is as in git, then run the command again."
    return f"building {title} failed. {advice}\nGo said:\n{text}"
