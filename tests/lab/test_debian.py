"""Files of Debian packages: where they cannot be had, what to do; tests/operator/test_demandhistory.py uses some."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.debian import unpacked


def test_without_apt_it_says_what_is_needed_and_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ControlPlaneError, match="Debian or Ubuntu"):
        unpacked(tmp_path / "cache", "some", ("some",))
    assert [path.name for path in (tmp_path / "cache" / "debian").iterdir()] == ["lock"]


def test_what_is_unpacked_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "debian" / "some"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unpacked(tmp_path, "some", ("some",)) == folder
