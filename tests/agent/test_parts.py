"""Parts of the agent alone: whose process it is, the journal, what is worth sending."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ingle_agent.journal import Journal, JournalUnreadable
from ingle_agent.ledger import Ledger, effective_w
from ingle_agent.measure import worth_sending
from ingle_agent.numa import zones
from ingle_agent.pods import PodFinder
from ingle_kit.streams import GpuProcess, GpuReading, Measurement

UID = "0a1b2c3d-1111-2222-3333-0123456789ab"


def process(root: Path, pid: int, cgroup: str = "0::/\n", environ: bytes = b"", start: int = 7) -> None:
    folder = root / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"{pid} (a b) S " + " ".join(["0"] * 18) + f" {start} 0\n")
    (folder / "cgroup").write_text(cgroup)
    (folder / "environ").write_bytes(environ)


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/burstable/pod{UID}/4f2a",
        f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-4f2a.scope",
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort-pod{UID.replace('-', '_')}.slice/x",
    ],
)
def test_the_pod_stands_in_the_control_group(tmp_path: Path, path: str) -> None:
    process(tmp_path, 5, f"0::{path}\n", b"INGLE_POD_UID=other\0")
    assert PodFinder(tmp_path).pods([5]) == {5: UID}


def test_outside_a_pods_control_group_the_environment_tells(tmp_path: Path) -> None:
    process(tmp_path, 5, environ=b"HOME=/\0INGLE_POD_UID=abc\0")
    process(tmp_path, 6, environ=b"NOT_INGLE_POD_UID=abc\0")
    assert PodFinder(tmp_path).pods([5, 6, 7]) == {5: "abc", 6: "", 7: ""}


def test_a_reused_pid_is_looked_at_again(tmp_path: Path) -> None:
    finder = PodFinder(tmp_path)
    process(tmp_path, 5, environ=b"INGLE_POD_UID=old\0")
    assert finder.pods([5]) == {5: "old"}
    process(tmp_path, 5, environ=b"INGLE_POD_UID=new\0", start=8)
    assert finder.pods([5]) == {5: "new"}


def test_the_journal_keeps_the_first_limit_over_restarts_and_forgets_on_request(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "limits.json"
    journal = Journal(path, "boot")
    journal.intend({"a": 400, "b": 300})
    journal.intend({"a": 100})
    again = Journal(path, "boot")
    again.load()
    assert again.previous == {"a": 400, "b": 300}
    again.forget({"a"})
    assert json.loads(path.read_text())["previousWatts"] == {"b": 300}


def test_a_reboot_makes_the_journal_empty(tmp_path: Path) -> None:
    Journal(tmp_path / "limits.json", "boot").intend({"a": 400})
    later = Journal(tmp_path / "limits.json", "next boot")
    later.load()
    assert later.previous == {}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"bootID": "boot"}', '{"bootID": "boot", "previousWatts": {"a": "x"}}']
)
def test_an_unreadable_journal_gives_nothing_back_and_is_kept_for_people(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(JournalUnreadable, match=r"limits\.json"):
        Journal(path, "boot").load()
    journal = Journal(path, "boot")
    journal.load_or_set_aside()
    journal.intend({"a": 100})
    assert journal.previous == {"a": None}
    assert (tmp_path / "limits.unreadable").read_text() == text


def test_page_cache_that_nobody_uses_counts_as_free_host_memory(tmp_path: Path) -> None:
    folder = tmp_path / "node1"
    folder.mkdir()
    (folder / "cpulist").write_text("0-3\n")
    lines = ["MemTotal: 4096 kB", "MemFree: 1024 kB", "Inactive(file): 2048 kB"]
    (folder / "meminfo").write_text("".join(f"Node 1 {line}\n" for line in lines))
    (tmp_path / "node2").mkdir()
    assert [(z.zone, z.memory_mib.total, z.memory_mib.free) for z in zones(tmp_path)] == [(1, 4, 3)]


@pytest.mark.parametrize(
    ("allotted", "safe", "silent", "watts"),
    [(3000, 1800, False, 3000), (3000, 1800, True, 1800), (1500, 1800, True, 1500), (3000, None, True, 3000)],
)
def test_silence_lowers_the_allotment_to_the_safe_one(
    allotted: int, safe: int | None, silent: bool, watts: int
) -> None:
    ledger = Ledger("u", 1, 1, allotted, safe, {}, {}, frozenset())
    assert effective_w(ledger, silent) == watts


GPU = GpuReading("a", 0, "x", 80000, 500, 70000, 100.0, 400.0, 400.0, 100.0, 400.0)
MESSAGE = Measurement("n", "b", 1, 0.0, (GPU,), observed_revision=3)


@pytest.mark.parametrize(
    ("gpu", "message", "worth"),
    [
        ({"draw_w": 300.0, "sm_mhz": 900, "memory_free_mib": 69950}, {"sequence": 2, "at_s": 1.0}, False),
        ({"memory_free_mib": 69936}, {}, True),
        ({"limit_w": 300.0}, {}, True),
        ({"health": "Lost"}, {}, True),
        ({"processes": (GpuProcess(1, 0, "u"),)}, {}, True),
        ({}, {"observed_revision": 4}, True),
        ({}, {"caps_in_force": False}, True),
    ],
)
def test_only_what_a_reader_acts_on_is_sent_at_once(
    gpu: dict[str, object], message: dict[str, object], worth: bool
) -> None:
    changed = msgspec.structs.replace(MESSAGE, gpus=(msgspec.structs.replace(GPU, **gpu),), **message)
    assert worth_sending(MESSAGE, changed, 64) is worth
    assert worth_sending(None, changed, 64)
