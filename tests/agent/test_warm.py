"""The agent tells what weights and compile caches are on its node's disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ingle_agent.warm import FILES_MAX, Budget, disk_of, inventory
from ingle_kit.objects.gpunode import MAX_WARM

FOREVER = float("inf")


def budget(files: int = FILES_MAX, ends_at_s: float = FOREVER) -> Budget:
    return Budget(ends_at_s, files, clock=lambda: 0.0)


def told(root: Path, quiet_before_s: float = FOREVER, **limits: Any) -> list[tuple[Any, ...]]:
    items = inventory(root, budget(**limits), quiet_before_s)
    return [
        (item.kind, item.model or item.key, item.mib, *([True] if item.partial else [])) for item in items
    ]


def put(folder: Path, size_bytes: int = 1, name: str = "f") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"0" * size_bytes)
    return folder / name


def test_names_of_whole_folders_are_told_with_their_sizes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("weights/qwen%2Fqwen3-8b", "weights/.llama", "weights/bad%0Aname", "compile/h100-abc"):
        put(tmp_path / name)
    put(tmp_path / "weights" / "big" / "deep", 3 * 1024 * 1024 + 1)
    put(tmp_path / "weights", name="a-file")
    assert told(tmp_path) == [
        ("Weights", "big", 4),
        ("Weights", "qwen/qwen3-8b", 1),
        ("CompileCache", "h100-abc", 1),
    ]


def test_a_copy_under_way_is_told_as_partial_and_one_that_is_renewed_as_whole(tmp_path: Path) -> None:
    put(tmp_path / "weights" / ".chat%2Fm@1.part")
    put(tmp_path / "weights" / ".renewed.part")
    put(tmp_path / "weights" / "renewed")
    assert told(tmp_path) == [("Weights", "chat/m@1", None, True), ("Weights", "renewed", 1)]


def test_an_empty_folder_as_the_kubelet_makes_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "weights" / "m" / "sub").mkdir(parents=True)
    (tmp_path / "compile" / "k").mkdir(parents=True)
    assert told(tmp_path) == []


def test_a_compile_cache_counts_once_nothing_in_it_changes(tmp_path: Path) -> None:
    os.utime(put(tmp_path / "compile" / "k", name="old"), (50.0, 50.0))
    os.utime(put(tmp_path / "compile" / "k" / "deep", name="new"), (100.0, 100.0))
    assert told(tmp_path, quiet_before_s=99.0) == []
    assert told(tmp_path, quiet_before_s=100.0) == [("CompileCache", "k", 1)]


def test_links_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", 9 * 1024 * 1024)
    (tmp_path / "cache" / "weights" / "linked").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "linked" / "in").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cache" / "weights" / "whole").symlink_to(tmp_path / "elsewhere")
    assert told(tmp_path / "cache") == []


@pytest.mark.parametrize("limits", [{"files": 2}, {"ends_at_s": -1.0}])
def test_a_look_that_costs_too_much_ends_and_leaves_sizes_out(tmp_path: Path, limits: dict[str, Any]) -> None:
    for number in range(3):
        put(tmp_path / "weights" / "m", name=f"f{number}")
    put(tmp_path / "weights" / "n")
    assert told(tmp_path, **limits) == [("Weights", "m", None), ("Weights", "n", None)]


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert told(tmp_path / "absent") == []
    assert disk_of(tmp_path / "absent" / "cache") is None


def test_the_disks_room_is_told(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "not-made-yet"):
        disk = disk_of(root)
        assert disk is not None
        assert 0 < disk.free <= disk.total


def test_more_than_the_status_holds_is_left_out(tmp_path: Path) -> None:
    for number in range(MAX_WARM + 10):
        put(tmp_path / "weights" / f"m{number:04}")
    assert len(told(tmp_path)) == MAX_WARM


async def test_the_status_follows_the_cache_folder(make_node: Any, until: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    weights = put(cache / "weights" / "qwen%2Fqwen3-8b")
    node = make_node()
    node.start(INGLE_CACHE_ROOT=str(cache), INGLE_CACHE_SECONDS="0.1")
    await node.create(revision=1)
    status = await node.observed(1)
    assert status["warm"] == [{"kind": "Weights", "model": "qwen/qwen3-8b", "mib": 1}]
    assert status["driverVersion"]
    assert status["diskMiB"]["free"] <= status["diskMiB"]["total"]
    long_ago_s = time.time() - 3600
    os.utime(put(cache / "compile" / "k1"), (long_ago_s, long_ago_s))
    weights.unlink()

    async def changed() -> bool:
        return bool((await node.status()).get("warm") == [{"kind": "CompileCache", "key": "k1", "mib": 1}])

    await until(changed, "weights gone, compile cache there", node.log)
