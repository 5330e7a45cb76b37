"""All images that the chart and the lab's pools name, in one archive."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ingle_lab.controlplane.binaries import built_folder, cache_dir, plan
from ingle_lab.gpu import build_library
from ingle_lab.images import python
from ingle_lab.images.closure import closure, files_of
from ingle_lab.images.oci import Entry, Image, layer, write_archive
from ingle_lab.realnode.binaries import programs
from ingle_lab.stack.nodes import envoy_binary

ROOT = Path(__file__).resolve().parents[4]
CHART = ROOT / "charts" / "ingle"
ENGINE_IMAGE = "docker.io/vllm/vllm-openai:v0.14.0"
"""Stand-in for vLLM: the lab's engine under the name and with the words that a pool would use."""
_CACHE = "/opt/ingle-lab"
_PATH = "/usr/local/bin:/usr/bin:/bin"


def build_archive(folder: Path, older: Mapping[str, Path] = MappingProxyType({})) -> Path:
    """Write `images.tar` into the folder and give its path. `older`: more images of ours by name, each from the sources in
    a folder, upon today's dependencies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "images.tar"
    with tempfile.TemporaryDirectory(dir=folder, prefix="layers-") as layers:
        write_archive(path, [*images(Path(layers)), *_older(Path(layers), older)])
    return path


def images(folder: Path) -> list[Image]:
    """Ours, the engine's stand-in, and those of others that the chart names, under the chart's own names.

    Layers are written into the folder, but that of Python and the dependencies into the cache.
    """
    values = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    base = _base(cache_dir() / "images")
    path = {"PATH": _PATH}
    kubernetes = plan(cache_dir()).kubernetes_version

    def program(name: str, target: str, source: Path, *more: Entry) -> tuple[Path]:
        return (layer(folder / name, [Entry(target, source.read_bytes, executable=True), *more]),)

    envoy = envoy_binary()
    scheduler = built_folder() / "kube-scheduler"
    return [
        Image(
            _named(values["ingle"], chart["appVersion"]), (base, layer(folder / "ours", _ours())), env=path
        ),
        Image(
            ENGINE_IMAGE,
            (base, layer(folder / "engine", _engine())),
            entrypoint=("vllm", "serve"),
            env=path | {"INGLE_CACHE_DIR": _CACHE, "PYTHONPATH": f"{python.SITE}/ingle_lab/engine/modules"},
        ),
        Image(
            _named(values["envoy"], ""),
            program("envoy", "/usr/local/bin/envoy", envoy, *python.shared_libraries([envoy])),
            entrypoint=("envoy",),
            env=path,
        ),
        Image(
            _named(values["kubeScheduler"], kubernetes),
            program("scheduler", "/usr/local/bin/kube-scheduler", scheduler),
            env=path,
        ),
        Image(_named(values["holder"], ""), program("pause", "/pause", programs()["pause"]), ("/pause",)),
    ]


def _older(folder: Path, sources: Mapping[str, Path]) -> list[Image]:
    base, path = _base(cache_dir() / "images"), {"PATH": _PATH}
    return [
        Image(name, (base, layer(folder / f"older-{number}", _ours(root))), env=path)
        for number, (name, root) in enumerate(sources.items())
    ]


def _base(folder: Path) -> Path:
    """The layer that changes with dependencies alone, made once; older ones go."""
    told = _project()["project"]
    needed = [
        *told["dependencies"],
        *(one for extra in told["optional-dependencies"].values() for one in extra),
    ]
    found = closure(needed)
    words = [sys.version, *(f"{one.name} {one.version}" for one in found)]
    words += [(Path(__file__).with_name(name)).read_text() for name in ("oci.py", "python.py", "closure.py")]
    path = folder / f"{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:16]}.tar"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.tar"):
            old.unlink()
        layer(path, [*python.interpreter(), *_dependencies(found)])
    return path


def _named(image: dict[str, Any], tag: str) -> str:
    return f"{image['repository']}:{image['tag'] or tag}"


def _project(root: Path = ROOT) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def _dependencies(distributions: Iterable[Distribution]) -> list[Entry]:
    found = [pair for one in distributions for pair in files_of(one)]
    made = [entry for text, path in found for entry in python.module(f"{python.SITE}/{text}", path)]
    return made + python.shared_libraries(path for _, path in found if path.suffix == ".so")


def _ours(root: Path = ROOT) -> list[Entry]:
    told = _project(root)
    folders = [root / name for name in told["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    commands = [python.command(name, target) for name, target in told["project"]["scripts"].items()]
    return [*python.packages(folders), *commands]


def _engine() -> list[Entry]:
    lab, library = ROOT / "hack" / "lab" / "ingle_lab", build_library()
    run = f'#!/bin/sh\nexec {python.PYTHON} -m ingle_lab.engine "$@"\n'
    kept = f"{_CACHE}/gpu/{library.parent.name}/{library.name}"
    parts = [entry for name in ("engine", "gpu") for entry in python.packages([lab / name])]
    inside = [
        Entry(
            entry.path.replace(f"{python.SITE}/", f"{python.SITE}/ingle_lab/"),
            entry.content,
            entry.executable,
        )
        for entry in parts
    ]
    return [
        *inside,
        Entry(f"{python.SITE}/ingle_lab/__init__.py"),
        Entry("/usr/local/bin/vllm", run.encode(), executable=True),
        Entry(kept, library.read_bytes(), executable=True),
    ]
