"""Builds the GPU stand-in, once for each version of its sources."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY_NAME = "libnvidia-ml.so.1"
SOURCES = Path(__file__).parent / "csrc"
FLAGS = (
    *("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-sanitize=undefined"),
    *("-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{LIBRARY_NAME}"),
)
COMPILE_LIMIT_S = 300.0


class BuildError(RuntimeError):
    """The stand-in cannot be built; the text says what is missing."""


def build_library() -> Path:
    """Path of `libnvidia-ml.so.1`, built now or found in `$INGLE_CACHE_DIR` (default `~/.cache/ingle`).

    Its folder is what goes into `LD_LIBRARY_PATH`. Raises BuildError without a C compiler or when it fails.
    """
    base = os.environ.get("INGLE_CACHE_DIR")
    root = (Path(base) if base else Path.home() / ".cache" / "ingle") / "gpu"
    library = root / _fingerprint() / LIBRARY_NAME
    if not library.exists():
        _build_into(root, library.parent)
    return library


def _fingerprint() -> str:
    digest = hashlib.sha256(" ".join((*FLAGS, platform.machine())).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compiler() -> list[str]:
    found = shutil.which("cc")
    if found:
        return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise BuildError(
        "no C compiler for the GPU stand-in: put `cc` on PATH (Debian: package gcc and libc6-dev), "
        "or run `pip install ziglang` in this environment"
    )


def _build_into(root: Path, target: Path) -> None:
    """Builds aside and moves the whole folder into place: a half-built library is never found, and of two
    builders the second's result is dropped."""
    command = _compiler()
    root.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".build-", dir=root))
    try:
        _compile(command, aside / LIBRARY_NAME)
        aside.chmod(0o755)
        try:
            aside.rename(target)
        except OSError:
            if not (target / LIBRARY_NAME).exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _compile(command: list[str], output: Path) -> None:
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    line = [*command, *FLAGS, "-o", str(output), *sources, "-lm", "-lpthread"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMPILE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{command[0]} took more than {COMPILE_LIMIT_S:.0f} s for the GPU stand-in"
        ) from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed on the GPU stand-in:\n{done.stderr[-4000:]}")
