"""OCI image layout as one tar file: layers, configurations, manifests, index. The same content gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODIFIED_S = 1_700_000_000
"""Time of every file in every image, in seconds since 1970: no build differs from the next by its clock."""
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


Content = bytes | Callable[[], bytes | None]
"""Bytes, or what gives them when they are written; None: leave the file out."""


@dataclass(frozen=True)
class Entry:
    """A file of a layer: content or a link's target; `path` is absolute. All belong to root, who alone may write."""

    path: str
    content: Content = b""
    executable: bool = False
    link: str = ""


@dataclass(frozen=True)
class Image:
    """What a registry would hold under `name`. `layers` are tar files that lie over each other, the first lowest."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "65532:65532"


def layer(path: Path, entries: Iterable[Entry]) -> Path:
    """Write an uncompressed tar file with the entries in order of their paths, and the folders that they need."""
    partial = path.with_name(f"{path.name}.partial")
    with tarfile.open(partial, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders: set[str] = set()
        for entry in sorted(entries, key=lambda entry: entry.path):
            for parent in reversed(Path(entry.path.lstrip("/")).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    tar.addfile(_member(str(parent), tarfile.DIRTYPE, 0o755))
            _add(tar, entry)
    return partial.rename(path)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    content = entry.content if isinstance(entry.content, bytes) else entry.content()
    if content is None:
        return
    kind = tarfile.SYMTYPE if entry.link else tarfile.REGTYPE
    member = _member(entry.path.lstrip("/"), kind, 0o755 if entry.executable else 0o644)
    member.linkname, member.size = entry.link, len(content)
    tar.addfile(member, io.BytesIO(content))


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, MODIFIED_S
    return member


def write_archive(path: Path, images: Iterable[Image]) -> None:
    """Write all images into one archive, as `ctr images import` reads it; equal layers are there once."""
    blobs: dict[str, bytes | Path] = {}

    def put(content: bytes | Path, media_type: str) -> dict[str, Any]:
        if isinstance(content, Path):
            with content.open("rb") as file:
                digest, size = hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size
        else:
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}

    known: dict[Path, dict[str, Any]] = {}
    manifests = []
    for image in images:
        for one in image.layers:
            known[one] = known.get(one) or put(one, _LAYER)
        layers = [known[one] for one in image.layers]
        config = put(_json(_config(image, [one["digest"] for one in layers])), _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
        manifests.append(
            put(_json(manifest), _MANIFEST)
            | {
                "annotations": {"io.containerd.image.name": image.name},
                "platform": {"architecture": "amd64", "os": "linux"},
            }
        )
    _write(path, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}, blobs)


def _write(path: Path, index: dict[str, Any], blobs: Mapping[str, bytes | Path]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, Entry("/oci-layout", _json({"imageLayoutVersion": "1.0.0"})))
        _add(tar, Entry("/index.json", _json(index)))
        for digest, content in sorted(blobs.items()):
            if isinstance(content, bytes):
                _add(tar, Entry(f"/blobs/sha256/{digest}", content))
                continue
            member = _member(f"blobs/sha256/{digest}", tarfile.REGTYPE, 0o644)
            member.size = content.stat().st_size
            with content.open("rb") as file:
                tar.addfile(member, file)
    partial.rename(path)


def _config(image: Image, diff_ids: list[str]) -> dict[str, Any]:
    return {
        "created": "2023-11-14T22:13:20Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{name}={value}" for name, value in sorted(image.env.items())],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
