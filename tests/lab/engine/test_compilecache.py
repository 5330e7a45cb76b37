"""What makes a start shorter: what an earlier one left in VLLM_CACHE_ROOT, if it compiles the same; imports done."""

from pathlib import Path

import pytest

from ingle_lab.engine.compilecache import CompileCache
from ingle_lab.engine.faults import Faults
from ingle_lab.engine.flags import parse
from ingle_lab.engine.life import IMPORT_SHARE, Life
from ingle_lab.engine.metrics import Counters
from ingle_lab.engine.profile import profile_of


class NoGpu:
    """Takes what it is told."""

    def hold(self, memory_bytes_per_gpu: int) -> None: ...

    def draw(self, busy_w_per_gpu: float) -> None: ...


def cache_of(root: Path, *more: str) -> CompileCache:
    return CompileCache(parse(["m", *more], {}), {"VLLM_CACHE_ROOT": str(root)})


async def load_s(compiled: bool, monkeypatch: pytest.MonkeyPatch, imported: bool = False) -> float:
    """Seconds at time scale 1 that a load takes."""
    took = []

    async def take(self: Life, seconds: float) -> None:
        took.append(seconds)

    monkeypatch.setattr(Life, "_take", take)
    profile = profile_of("m")
    life = Life(profile, NoGpu(), Faults(), Counters(), gpus=1, kv_bytes=1 << 30, seqs_max=1, time_scale=1.0)
    await life.load(compiled, imported)
    return sum(took)


async def test_a_start_with_a_cache_leaves_most_of_the_compiling_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cold_s, warm_s = await load_s(False, monkeypatch), await load_s(True, monkeypatch)
    assert cold_s == pytest.approx(profile_of("m").load_s)
    assert 0.5 * cold_s < warm_s < cold_s


@pytest.mark.parametrize("compiled", [False, True])
async def test_a_load_with_the_imports_done_is_shorter_by_their_share(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_s, left_s = await load_s(compiled, monkeypatch), await load_s(compiled, monkeypatch, imported=True)
    assert plain_s - left_s == pytest.approx(profile_of("m").load_s * IMPORT_SHARE)


def test_a_cache_is_there_once_it_was_filled_and_serves_what_compiles_the_same(tmp_path: Path) -> None:
    root = tmp_path / "key"
    assert not cache_of(root).present()
    cache_of(root).fill()
    assert cache_of(root, "--port", "9").present()
    assert not cache_of(root, "--max-model-len", "4096").present()


def test_without_the_variable_or_a_folder_that_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cache in (cache_of(tmp_path / "file"), CompileCache(parse(["m"], {}), {})):
        cache.fill()
        assert not cache.present()
