"""Folders that stand for a pod's volumes, and the files in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingle_kit.kube import Object
from ingle_lab.node.facts import Place, Sources, content_of, field_value

ROOT_CA = "kube-root-ca.crt"


@dataclass(frozen=True)
class TokenFile:
    """A service-account token that a volume wants at `path`; `audience` empty is the API server's own."""

    path: Path
    audience: str
    expiration_s: int


@dataclass(frozen=True)
class Volumes:
    """`folders` by volume name, `tokens` still to be written."""

    folders: dict[str, str]
    tokens: tuple[TokenFile, ...]


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    os.replace(draft, path)


def make_volumes(
    pod: Object, place: Place, sources: Sources, *, pod_dir: Path, host_dir: Path, claims_dir: Path
) -> Volumes:
    """Makes every volume of a pod. `claims_dir` is the same on every node. Raises facts.NotYet when a source is missing."""
    folders: dict[str, str] = {}
    tokens: list[TokenFile] = []
    for volume in pod["spec"].get("volumes") or []:
        if "hostPath" in volume:
            folder = host_dir / volume["hostPath"]["path"].lstrip("/")
        elif "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            folder = claims_dir / pod["metadata"]["namespace"] / claim
        else:
            folder = pod_dir / "volumes" / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        folders[volume["name"]] = str(folder)
        for path, content in _files(volume, pod, place, sources):
            write_whole(folder / path, content)
        tokens += _tokens(volume, folder)
    return Volumes(folders, tuple(tokens))


def make_sub_paths(folders: Iterable[str]) -> None:
    """As the kubelet: a folder that a mount names is made where nothing is."""
    for folder in folders:
        if not Path(folder).exists():
            Path(folder).mkdir(parents=True)


def _files(volume: Object, pod: Object, place: Place, sources: Sources) -> Iterator[tuple[str, bytes]]:
    if "configMap" in volume:
        yield from _source_files("ConfigMap", volume["configMap"], volume["configMap"]["name"], sources)
    if "secret" in volume:
        yield from _source_files("Secret", volume["secret"], volume["secret"]["secretName"], sources)
    if "downwardAPI" in volume:
        yield from _downward_files(volume["downwardAPI"], pod, place)
    for source in (volume.get("projected") or {}).get("sources") or []:
        if "configMap" in source:
            yield from _source_files("ConfigMap", source["configMap"], source["configMap"]["name"], sources)
        if "secret" in source:
            yield from _source_files("Secret", source["secret"], source["secret"]["name"], sources)
        if "downwardAPI" in source:
            yield from _downward_files(source["downwardAPI"], pod, place)


def _source_files(kind: str, ref: Object, name: str, sources: Sources) -> Iterator[tuple[str, bytes]]:
    content = content_of(kind, name, bool(ref.get("optional")), sources) or {}
    if not ref.get("items"):
        yield from content.items()
        return
    for item in ref["items"]:
        if item["key"] in content:
            yield item["path"], content[item["key"]]


def _downward_files(ref: Object, pod: Object, place: Place) -> Iterator[tuple[str, bytes]]:
    for item in ref.get("items") or []:
        if "fieldRef" in item:
            yield item["path"], field_value(item["fieldRef"]["fieldPath"], pod, place).encode()


def _tokens(volume: Object, folder: Path) -> Iterator[TokenFile]:
    for source in (volume.get("projected") or {}).get("sources") or []:
        wanted = source.get("serviceAccountToken")
        if wanted:
            yield TokenFile(
                folder / wanted["path"],
                wanted.get("audience", ""),
                int(wanted.get("expirationSeconds", 3600)),
            )
