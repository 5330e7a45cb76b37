"""Image archives: what a registry would hold, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from ingle_lab.images.oci import MODIFIED_S, Entry, Image, layer, write_archive
from ingle_lab.images.python import module

FILES = [Entry("/usr/bin/run", b"#!/bin/sh\n", executable=True), Entry("/bin/sh", link="/usr/bin/run")]


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def test_a_layer_has_its_folders_and_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    path = layer(tmp_path / "one", FILES)
    assert path.read_bytes() == layer(tmp_path / "other", reversed(FILES)).read_bytes()
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["bin", "bin/sh", "usr", "usr/bin", "usr/bin/run"]
    assert {member.mtime for member in members} == {MODIFIED_S}
    assert {(member.uid, member.mode & 0o022) for member in members} == {(0, 0)}


def test_every_digest_in_an_archive_is_that_of_its_blob(tmp_path: Path) -> None:
    base = layer(tmp_path / "base", FILES)
    upper = [layer(tmp_path / name, [Entry(f"/{name}")]) for name in "ab"]
    images = [Image(f"ingle.dev/{path.name}:1", (base, path), ("run",)) for path in upper]
    write_archive(tmp_path / "images.tar", images)
    found = read(tmp_path / "images.tar")
    blobs = {name.rpartition("/")[2]: content for name, content in found.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in blobs.items())
    index = json.loads(found["index.json"])
    names = [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]]
    assert names == ["ingle.dev/a:1", "ingle.dev/b:1"]
    manifests = [json.loads(blobs[one["digest"].removeprefix("sha256:")]) for one in index["manifests"]]
    low, high = zip(*(manifest["layers"] for manifest in manifests), strict=True)
    assert low[0] == low[1]
    assert high[0] != high[1]
    config = json.loads(blobs[manifests[0]["config"]["digest"].removeprefix("sha256:")])
    assert config["config"]["User"] == "65532:65532"
    assert config["rootfs"]["diff_ids"] == [one["digest"] for one in manifests[0]["layers"]]


def test_a_python_file_comes_compiled_for_the_time_that_it_has_in_the_image(tmp_path: Path) -> None:
    source = tmp_path / "some.py"
    source.write_text("ANSWER = 42\n")
    plain, compiled = module("/lib/some.py", source)
    assert content_of(plain) == b"ANSWER = 42\n"
    assert compiled.path.startswith("/lib/__pycache__/some.cpython-")
    assert int.from_bytes(content_of(compiled)[8:12], "little") == MODIFIED_S


def test_what_does_not_compile_comes_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "some.py"
    source.write_text("this is no Python\n")
    path = layer(tmp_path / "one", module("/lib/some.py", source))
    with tarfile.open(path) as tar:
        assert [member.name for member in tar.getmembers() if member.isfile()] == ["lib/some.py"]


def content_of(entry: Entry) -> bytes:
    content = entry.content if isinstance(entry.content, bytes) else entry.content()
    assert content is not None
    return content
