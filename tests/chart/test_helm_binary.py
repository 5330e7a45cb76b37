"""Where Helm is built, and what is said where it is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingle_lab.controlplane import ControlPlaneError
from ingle_lab.helm import binary, built_folder


def test_it_says_the_version_that_go_mod_pins() -> None:
    done = subprocess.run(
        [built_folder() / "helm", "version", "--short"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(binary.plan().version)


def test_another_pin_is_built_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = binary.plan(tmp_path)
    (tmp_path / "kstatus").mkdir()
    for name in ("go.mod", "go.sum", "kstatus/main.go"):
        (tmp_path / name).write_bytes((binary.MODULE_DIR / name).read_bytes())
    monkeypatch.setattr(binary, "MODULE_DIR", tmp_path)
    assert binary.plan(tmp_path) == before
    (tmp_path / "go.mod").write_text((tmp_path / "go.mod").read_text().replace(before.version, "v4.9.9"))
    after = binary.plan(tmp_path)
    assert (after.version, after.folder != before.folder) == ("v4.9.9", True)


def test_without_it_the_command_to_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match=r"Run `python -m ingle_lab\.helm build`"):
        built_folder(tmp_path)
