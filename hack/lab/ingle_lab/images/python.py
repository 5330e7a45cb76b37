"""Layers with Python: this machine's interpreter with the libraries it needs, packages, and commands."""

from __future__ import annotations

import importlib.util
import marshal
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ingle_lab.images.oci import MODIFIED_S, Entry

PYTHON = f"/usr/local/bin/python3.{sys.version_info.minor}"
LIBRARY = f"/usr/local/lib/python3.{sys.version_info.minor}"
SITE = f"{LIBRARY}/site-packages"
_SYSTEM_LIBRARIES = "/lib/x86_64-linux-gnu"
_NOT_NEEDED = frozenset(
    [
        "__pycache__",
        "site-packages",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "lib2to3",
        "pydoc_data",
    ]
)


def interpreter() -> list[Entry]:
    """The interpreter, its library, the shell `sh`, and every shared library that these need."""
    library = Path(sysconfig.get_path("stdlib"))
    program, shell = Path(sys.executable).resolve(), Path("/bin/sh").resolve()
    files = [path for path in _walk(library) if not path.parts[-2].startswith("config-")]
    made = [entry for path in files for entry in module(f"{LIBRARY}/{path.relative_to(library)}", path)]
    made += [
        Entry(PYTHON, program.read_bytes(), executable=True),
        Entry("/usr/local/bin/python3", link=PYTHON),
        Entry("/bin/sh", shell.read_bytes(), executable=True),
    ]
    extensions = [path for path in files if path.suffix == ".so"]
    return made + shared_libraries([program, shell, *extensions])


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_NEEDED or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix != ".pyc":
            yield path


def packages(folders: Iterable[Path]) -> list[Entry]:
    """Our own packages, each with all of its files, in site-packages."""
    return [
        entry
        for folder in folders
        for path in _walk(folder)
        for entry in module(f"{SITE}/{folder.name}/{path.relative_to(folder)}", path)
    ]


def module(target: str, path: Path) -> Iterator[Entry]:
    """A file; a Python file comes compiled too, since nothing can be written where it will run."""
    yield Entry(target, path.read_bytes, executable=path.suffix == ".so")
    if path.suffix == ".py":
        folder, _, name = target.rpartition("/")
        tag = sys.implementation.cache_tag
        compiled = f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
        yield Entry(compiled, partial(_compiled, path, target))


def _compiled(path: Path, target: str) -> bytes | None:
    """What Python would write, for a source as old as every file of an image. None for what does not compile."""
    content = path.read_bytes()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, MODIFIED_S, len(content) & 0xFFFFFFFF)
    cached = Path(importlib.util.cache_from_source(str(path)))
    if cached.exists():
        known, stat = cached.read_bytes(), path.stat()
        same = struct.pack("<III", 0, int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
        if known[:16] == importlib.util.MAGIC_NUMBER + same:
            return header + known[16:]
    try:
        return header + marshal.dumps(compile(content, target, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return None


def command(name: str, entry_point: str) -> Entry:
    """A command as pip would write it; `entry_point` is MODULE:FUNCTION."""
    source, function = entry_point.split(":")
    text = f"#!{PYTHON}\nimport sys\nfrom {source} import {function}\nsys.exit({function}())\n"
    return Entry(f"/usr/local/bin/{name}", text.encode(), executable=True)


def shared_libraries(programs: Iterable[Path]) -> list[Entry]:
    """What the dynamic linker loads for them, where it looks without being told."""
    paths = [str(path) for path in programs]
    told = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False).stdout
    made: dict[str, Entry] = {}
    for name, path in re.findall(r"^\s*(\S+) => (/\S+) \(", told, re.MULTILINE):
        made[name] = Entry(f"{_SYSTEM_LIBRARIES}/{name}", Path(path).read_bytes(), executable=True)
    for path in set(re.findall(r"^\s*(/\S+/ld-\S+) \(", told, re.MULTILINE)):
        made[path] = Entry(path, Path(path).read_bytes(), executable=True)
    return list(made.values())
