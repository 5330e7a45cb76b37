"""The agent tells what weights and compile caches are on its node's disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingle_agent.warm import inventory
from ingle_kit.objects.gpunode import MAX_WARM


def told(root: Path) -> list[tuple[str, str | None]]:
    return [(item.kind, item.model or item.key) for item in inventory(root)]


def test_names_of_whole_folders_are_told_and_nothing_else(tmp_path: Path) -> None:
    for name in ("weights/qwen%2Fqwen3-8b", "weights/.llama", "weights/bad%0Aname", "compile/h100-abc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "weights" / "a-file").touch()
    assert told(tmp_path) == [("Weights", "qwen/qwen3-8b"), ("CompileCache", "h100-abc")]


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert told(tmp_path / "absent") == []


def test_more_than_the_status_holds_is_left_out(tmp_path: Path) -> None:
    for number in range(MAX_WARM + 10):
        (tmp_path / "weights" / f"m{number:04}").mkdir(parents=True)
    assert len(told(tmp_path)) == MAX_WARM


async def test_the_status_follows_the_cache_folder(make_node: Any, until: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "weights" / "qwen%2Fqwen3-8b").mkdir(parents=True)
    node = make_node()
    node.start(INGLE_CACHE_ROOT=str(cache), INGLE_CACHE_SECONDS="0.1")
    await node.create(revision=1)
    status = await node.observed(1)
    assert status["warm"] == [{"kind": "Weights", "model": "qwen/qwen3-8b"}]
    (cache / "compile" / "k1").mkdir(parents=True)
    (cache / "weights" / "qwen%2Fqwen3-8b").rmdir()

    async def changed() -> bool:
        return bool((await node.status()).get("warm") == [{"kind": "CompileCache", "key": "k1"}])

    await until(changed, "weights gone, compile cache there", node.log)
