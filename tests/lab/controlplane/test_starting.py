"""Starting, breaking and stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.controlplane import ControlPlane, ControlPlaneError, Ports, commands, processes, state
from ingle_lab.controlplane.processes import ProcessId
from ingle_lab.controlplane.testing import FAST

STARTER = """
import sys
from pathlib import Path
from ingle_lab.controlplane import ControlPlane
from ingle_lab.controlplane.testing import FAST
plane = ControlPlane(Path(sys.argv[1]), FAST)
plane.start()
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_objects_outlive_a_restart_and_kills_and_nothing_runs_after_stop(
    tmp_path: Path, kubectl: Callable[..., Any]
) -> None:
    with ControlPlane(tmp_path, FAST) as first:
        assert kubectl(first, "create", "namespace", "kept").returncode == 0
        started = first.running
        assert set(started) == {"etcd", "kube-apiserver", "kube-controller-manager"}
    assert not [name for name, process in started.items() if process.alive]
    with ControlPlane(tmp_path, replace(FAST, default_scheduler=True)) as second:
        assert second.server == first.server
        assert second.not_ready("kube-scheduler") is None
        assert kubectl(second, "get", "namespace", "kept").returncode == 0
        second.kill("kube-apiserver")
        second.kill("etcd")
        assert second.not_ready("kube-apiserver") == "it does not run"
        second.restart("etcd")
        second.restart("kube-apiserver")
        second.wait_ready()
        assert kubectl(second, "get", "namespace", "kept").returncode == 0
    assert second.running == {}


def test_everything_ends_when_the_starter_is_killed_and_the_next_start_is_clean(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "started\n"
    with pytest.raises(ControlPlaneError, match=r"runs in .* already"):
        ControlPlane(tmp_path, FAST).start()
    running = ControlPlane.attach(tmp_path).running
    starter.kill()
    starter.communicate()
    with ControlPlane(tmp_path, FAST, fresh=True) as again:
        assert not set(again.running.values()) & set(running.values())
        assert not [process for process in running.values() if process.alive]


def test_a_detached_control_plane_is_found_and_stopped_by_another_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = ["--lab", str(tmp_path)]
    assert commands.main(["status", *lab]) == 3
    plane = ControlPlane(tmp_path, FAST, detached=True)
    plane.start()
    started = plane.running
    try:
        assert commands.main(["status", *lab]) == 0
        plane.kill("kube-controller-manager")
        assert commands.main(["status", *lab]) == 3
        assert "it does not run" in capsys.readouterr().out
    finally:
        assert commands.main(["down", *lab]) == 0
    assert not [process for process in started.values() if process.alive]


def test_a_port_in_use_is_named_with_its_owner_and_nothing_is_started(
    tmp_path: Path, taken_port: int
) -> None:
    settings = replace(
        FAST, ports=Ports(apiserver=taken_port, etcd=1024, etcd_peer=1025, controller_manager=1026)
    )
    plane = ControlPlane(tmp_path, settings)
    with pytest.raises(ControlPlaneError) as failure:
        plane.start()
    assert f"port {taken_port} on 127.0.0.1, wanted for apiserver, is in use by python" in str(failure.value)
    assert "--port apiserver=NUMBER" in str(failure.value)
    assert state.read(tmp_path) is None


def test_too_little_disk_is_refused_before_anything_starts(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, replace(FAST, need_bytes=2**60))
    with pytest.raises(ControlPlaneError, match=r"GiB free at .* needs .* INGLE_LAB_DIR"):
        plane.start()
    assert state.read(tmp_path) is None


def test_a_process_that_ends_while_starting_shows_its_last_words_and_stops_the_rest(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, replace(FAST, service_range="not-a-range"))
    with pytest.raises(
        ControlPlaneError,
        match=r"kube-apiserver ended while starting[\s\S]*service-cluster-ip-range.* is not a valid cidr",
    ):
        plane.start()
    assert plane.running == {}


def test_a_pid_that_was_reused_is_not_taken_for_ours(tmp_path: Path) -> None:
    me = processes.identify(os.getpid())
    other = ProcessId(me.pid, me.start_ticks - 1)
    assert me.alive
    assert not other.alive
    processes.send(other, signal.SIGKILL)  # would end this test run
    assert processes.wait(other, 0)


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / state.FILE).write_text("{")
    with pytest.raises(ControlPlaneError, match=r"controlplane\.json cannot be read"):
        ControlPlane(tmp_path, FAST).start()


@pytest.mark.parametrize("word", ["apiserver", "api=1", "apiserver=0", "apiserver=x", "apiserver=70000"])
def test_a_wrong_port_option_is_explained(word: str) -> None:
    with pytest.raises(ControlPlaneError, match="write NAME=NUMBER"):
        commands.parse_ports([word])


def test_port_options_change_only_what_they_name() -> None:
    assert commands.parse_ports(["apiserver=7443", "etcd-peer=7"]) == Ports(apiserver=7443, etcd_peer=7)
    assert commands.parse_ports(["auto"]) == "auto"
