"""Whether pods sit where the ledger has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ingle_agent.attached import bounded, in_wrong_zone, on_wrong_gpu, zones_of_pods
from ingle_agent.device import GpuProcess, GpuSample, GpuShape
from ingle_agent.enforce import InForce
from ingle_agent.ledger import Ledger
from ingle_agent.loop import Snapshot
from ingle_agent.status import status_of, worth_writing
from ingle_agent.zonecheck import ZoneCheck, is_wrong, kib_by_zone


def shape(uuid: str, numa: int | None = 0, mig: bool = False) -> GpuShape:
    return GpuShape(uuid, 0, "H100", "", numa, (), 200, 700, 700, mig)


def on(uuid: str, *pids: int) -> GpuSample:
    return GpuSample(uuid, "Healthy", processes=tuple(GpuProcess(pid, None) for pid in pids))


def ledger(**holders: str) -> Ledger:
    """ledger(g0="a b"): pods a and b claim something on g0."""
    held = {gpu: frozenset(pods.split()) for gpu, pods in holders.items()}
    return Ledger("u", 1, 1, None, None, {}, {}, frozenset().union(*held.values()), held)


def snapshot(
    samples: Mapping[str, tuple[int, ...]],
    pods: dict[int, str],
    known: Ledger,
    zones: tuple[int | None, ...] = (0, 1),
) -> Snapshot:
    shapes = tuple(shape(uuid, zone) for uuid, zone in zip(samples, zones, strict=False))
    return Snapshot(
        0.0, shapes, tuple(on(uuid, *pids) for uuid, pids in samples.items()), pods, InForce(), known, {}, 0
    )  # fmt: skip


TWO = (shape("g0"), shape("g1", 1))


def test_a_pod_on_a_gpu_that_it_does_not_claim_is_named_with_both_gpus() -> None:
    found = on_wrong_gpu(TWO, (on("g0", 1), on("g1", 1)), {1: "a"}, ledger(g0="a", g1=""))
    assert [(m.pod_uid, m.reason) for m in found] == [("a", "WrongGPU")]
    assert found[0].message == "pod a uses g1, its GPUs are g0"


@pytest.mark.parametrize(
    ("samples", "pods", "claims"),
    [
        ((on("g0", 1), on("g1", 2)), {1: "a", 2: "b"}, {"g0": "a", "g1": "b"}),
        ((on("g0"), on("g1", 7)), {7: "stranger"}, {"g0": "a", "g1": ""}),
        ((on("g0"), on("g1", 7)), {}, {"g0": "a", "g1": ""}),
        ((on("g0"), replace(on("g1"), processes=None)), {}, {"g0": "a", "g1": ""}),
    ],
    ids=["each on its own", "a pod of others", "no pod", "processes cannot be seen"],
)
def test_nobody_else_is_accused(
    samples: tuple[GpuSample, ...], pods: dict[int, str], claims: dict[str, str]
) -> None:
    assert on_wrong_gpu(TWO, samples, pods, ledger(**claims)) == []
    assert on_wrong_gpu(TWO, samples, pods, None) == []


def test_a_gpu_split_by_mig_is_left_out() -> None:
    shapes = (shape("g0"), shape("g1", mig=True))
    assert on_wrong_gpu(shapes, (on("g0"), on("g1", 1)), {1: "a"}, ledger(g0="a")) == []


def test_only_pods_whose_gpus_hang_on_one_known_zone_have_a_zone() -> None:
    shapes = (shape("g0", 0), shape("g1", 1), shape("g2", 1), shape("g3", None))
    known = ledger(g0="a both", g1="b both", g2="b", g3="dark")
    assert zones_of_pods(shapes, known) == {"a": 0, "b": 1}
    assert zones_of_pods(shapes, None) == {}


NUMA_MAPS = """7f00 default file=/usr/lib/libc.so mapped=900000 N0=900000 kernelpagesize_kB=4
7f10 default anon=20000 dirty=20000 N0=4000 N1=16000 kernelpagesize_kB=4
7f20 default anon=10 dirty=10 N1=10 kernelpagesize_kB=2048
7f30 default stack
"""


def test_pages_of_files_do_not_count_and_huge_pages_count_by_their_size() -> None:
    kib = kib_by_zone(NUMA_MAPS)
    assert kib == {0: 16000, 1: 64000 + 20480}
    assert (is_wrong(kib, 0), is_wrong(kib, 1)) == (True, False)
    assert is_wrong({0: 1000}, 1) is None


def test_this_process_can_be_read_as_the_kernel_writes_it() -> None:
    path = Path("/proc/self/numa_maps")
    text = path.read_text() if path.is_file() else NUMA_MAPS  # a kernel without NUMA writes none
    assert sum(kib_by_zone(text).values()) > 0


def maps(root: Path, pid: int, zone: int, mib: int = 100) -> None:
    (root / str(pid)).mkdir(exist_ok=True)
    (root / str(pid) / "numa_maps").write_text(f"7f default anon=1 N{zone}={mib * 256} kernelpagesize_kB=4\n")


async def test_processes_are_read_in_turn_and_a_pod_that_moves_or_leaves_is_forgiven(tmp_path: Path) -> None:
    now = snapshot({"g0": (1,), "g1": (2,)}, {1: "a", 2: "b"}, ledger(g0="a", g1="b"))
    told: list[int] = []
    check = ZoneCheck(tmp_path, pause_s=1, snapshot=lambda: now, on_change=lambda: told.append(1))
    maps(tmp_path, 1, zone=1)
    maps(tmp_path, 2, zone=0)
    await check.look()
    assert check.wrong == {"a"}
    await check.look()
    assert check.wrong == {"a", "b"}
    maps(tmp_path, 1, zone=0)
    await check.look()
    assert check.wrong == {"b"}
    now = replace(now, pods={1: "a"})
    await check.look()
    assert check.wrong == frozenset()
    assert len(told) == 4


async def test_what_cannot_be_read_is_not_judged(tmp_path: Path) -> None:
    now = snapshot({"g0": (1,)}, {1: "a"}, ledger(g0="a"))
    check = ZoneCheck(tmp_path, pause_s=1, snapshot=lambda: now, on_change=lambda: None)
    await check.look()
    assert check.wrong == frozenset()


def test_the_condition_names_the_pod_and_is_written_at_once() -> None:
    good = snapshot({"g0": (1,), "g1": ()}, {1: "a"}, ledger(g0="a", g1=""))
    bad = snapshot({"g0": (1,), "g1": (1,)}, {1: "a"}, ledger(g0="a", g1=""))
    before, after = (status_of(s, "boot", 0.0, stale=False) for s in (good, bad))
    by_type = {c.type: c for c in after.conditions}
    assert (by_type["Attached"].status, by_type["Attached"].reason) == ("False", "WrongGPU")
    assert "pod a uses g1" in by_type["Attached"].message
    assert worth_writing(before, after, 256)
    assert {c.type: c.reason for c in before.conditions}["Attached"] == "AsClaimed"


def test_a_pod_is_named_once_the_wrong_gpu_first_and_the_list_is_bounded() -> None:
    many = ledger(g0=" ".join(f"p{n:02}" for n in range(40)), g1="")
    pods = {n: f"p{n:02}" for n in range(40)}
    wrong = on_wrong_gpu(TWO, (on("g0"), on("g1", *pods)), pods, many)
    found = bounded(wrong, in_wrong_zone({"p00", "gone"}, {"p00": 0}))
    assert len(found) == 32
    assert [m.reason for m in found if m.pod_uid == "p00"] == ["WrongGPU"]
