"""`ingle-fetch`: whole copies of weights on the node's disk, whatever happens while they are made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingle_kit import fetch
from ingle_kit.fetch import BAD_ORIGIN, BUSY, CHANGED, NO_ROOM, FetchError, copy, files_of, is_whole, link

PATH = "models/m"


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A claim with the weights of two models, one of them with links as a download of Hugging Face's has."""
    claim = tmp_path / "claim"
    for name in ("blobs", "models/m/deep", "models/other"):
        (claim / name).mkdir(parents=True)
    (claim / "blobs" / "b").write_bytes(b"0" * 100)
    (claim / "models/m/config.json").write_text("{}")
    (claim / "models/m/deep/a.safetensors").write_bytes(b"1" * 1000)
    (claim / "models/m/linked.safetensors").symlink_to("../../blobs/b")
    (claim / "models/other/x").write_text("x")
    return claim


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights"


def names_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def failure(claim: Path, to: Path, reserve_bytes: int = 0) -> int:
    with pytest.raises(FetchError) as caught:
        copy(claim, PATH, to, "m", reserve_bytes)
    return caught.value.code


def test_a_copy_holds_files_and_not_links_and_has_its_name_only_when_it_is_whole(
    claim: Path, to: Path
) -> None:
    copy(claim, PATH, to, "m", 0)
    assert names_in(to / "m") == [fetch.MANIFEST, "config.json", "deep/a.safetensors", "linked.safetensors"]
    assert not (to / "m/linked.safetensors").is_symlink()
    assert is_whole(to / "m", files_of(claim, PATH))
    assert not (to / ".m.part").exists()


def test_a_killed_copy_goes_on_where_it_was(claim: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, copied = fetch._copy_file, []

    def killed_at_the_second(origin: Path, target: Path, file: fetch.File) -> None:
        if copied:
            raise KeyboardInterrupt
        copied.append(file.path)
        real(origin, target, file)

    monkeypatch.setattr(fetch, "_copy_file", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        copy(claim, PATH, to, "m", 0)
    assert not (to / "m").exists()
    (to / ".m.part" / ".linked.safetensors.new").write_text("half")
    again: list[str] = []
    monkeypatch.setattr(fetch, "_copy_file", lambda o, t, f: (again.append(f.path), real(o, t, f)))
    copy(claim, PATH, to, "m", 0)
    assert set(again) & set(copied) == set()
    assert is_whole(to / "m", files_of(claim, PATH))


def test_a_changed_origin_replaces_the_copy_and_removes_what_it_lost(claim: Path, to: Path) -> None:
    copy(claim, PATH, to, "m", 0)
    (claim / PATH / "config.json").unlink()
    (claim / PATH / "deep/a.safetensors").write_bytes(b"2" * 999)
    assert not is_whole(to / "m", files_of(claim, PATH))
    copy(claim, PATH, to, "m", 0)
    assert (to / "m/deep/a.safetensors").read_bytes() == b"2" * 999
    assert names_in(to) == [
        ".m.lock",
        f"m/{fetch.MANIFEST}",
        "m/deep/a.safetensors",
        "m/linked.safetensors",
    ]


def test_the_kubelets_empty_folder_is_replaced(claim: Path, to: Path) -> None:
    (to / "m").mkdir(parents=True)
    copy(claim, PATH, to, "m", 0)
    assert is_whole(to / "m", files_of(claim, PATH))


def test_an_origin_that_changes_while_it_is_copied_gives_no_copy(
    claim: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetch._copy_file

    def late(origin: Path, target: Path, file: fetch.File) -> None:
        real(origin, target, file)
        (claim / PATH / "config.json").write_text('{"new": 1}')

    monkeypatch.setattr(fetch, "_copy_file", late)
    assert failure(claim, to) == CHANGED
    assert not (to / "m").exists()


def test_reserved_room_stays_free(claim: Path, to: Path) -> None:
    assert failure(claim, to, reserve_bytes=2**62) == NO_ROOM
    assert not (to / "m").exists()


def test_two_copiers_of_one_folder_do_not_work_at_once(claim: Path, to: Path) -> None:
    to.mkdir(parents=True)
    code = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
        "sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(to / ".m.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert failure(claim, to) == BUSY
        other.communicate()
    copy(claim, PATH, to, "m", 0)


@pytest.mark.parametrize("name", ["gone", "outside", "folder", "empty"])
def test_what_is_not_wholly_in_the_claim_is_refused(claim: Path, to: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    bad = claim / PATH / "bad"
    {
        "gone": lambda: bad.symlink_to("nowhere"),
        "outside": lambda: bad.symlink_to(tmp_path / "secret"),
        "folder": lambda: bad.symlink_to(claim / "models/other"),
        "empty": lambda: [p.unlink() for p in sorted((claim / PATH).rglob("*")) if not p.is_dir()],
    }[name]()
    assert failure(claim, to) == BAD_ORIGIN


def test_an_engine_sees_the_copy_in_the_claims_place_and_the_rest_of_the_claim(
    claim: Path, to: Path, tmp_path: Path
) -> None:
    at = tmp_path / "seen"
    at.mkdir()
    assert not link(claim, PATH, to / "m", at)
    assert os.path.realpath(at / PATH) == str(claim / PATH)
    copy(claim, PATH, to, "m", 0)
    assert link(claim, PATH, to / "m", at)
    assert os.path.realpath(at / PATH) == str(to / "m")
    assert (at / "models/other/x").read_text() == "x"
    assert (at / "blobs/b").stat().st_size == 100


def test_a_copy_that_is_not_what_the_claim_holds_now_is_not_used(
    claim: Path, to: Path, tmp_path: Path
) -> None:
    copy(claim, PATH, to, "m", 0)
    (claim / PATH / "config.json").write_text('{"new": 1}')
    at = tmp_path / "seen"
    at.mkdir()
    assert not link(claim, PATH, to / "m", at)


def test_the_program_copies_and_links_and_says_what_is_wrong(claim: Path, to: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ingle_kit.fetch"]
    origin = ["--claim", str(claim), "--path", PATH]
    subprocess.run([*words, "copy", *origin, "--to", str(to), "--folder", "m"], check=True)
    (tmp_path / "seen").mkdir()
    linking = [*words, "link", *origin, "--copy", str(to / "m"), "--at", str(tmp_path / "seen")]
    told = subprocess.run(linking, check=True, capture_output=True, text=True)
    assert "read from the disk of this node" in told.stderr
    bad = [*words, "copy", "--claim", str(claim), "--path", "gone", "--to", str(to), "--folder", "g"]
    ended = subprocess.run(bad, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (BAD_ORIGIN, "ingle-fetch: gone is no folder of the claim\n")
