"""Changes of the ledger: guarded by the revision, idempotent, in the API's shape."""

from __future__ import annotations

import pytest

from ingle_core.ledger import (
    Gpu,
    Ledger,
    LedgerError,
    PodRef,
    Zone,
    applied,
    charged_watts,
    claim,
    fits,
    move,
    release,
    set_allotment,
    set_gpus,
)

POD = PodRef("pod-1", "chat/llama")
EMPTY = Ledger(
    revision=7,
    gpus=(Gpu("G0", 80000, 100), Gpu("G1", 80000, 100)),
    zones=(Zone(0, 50000), Zone(1, 50000)),
    watts_allotted=1000,
)
CLAIMED = applied(
    EMPTY, claim(EMPTY, POD, ["G1"], memory_mib=40000, watts=500, host_zone=1, host_mib=17000, at="t")
)


def test_a_change_tests_the_revision_first_and_raises_it_by_one() -> None:
    ops = claim(EMPTY, POD, ["G1"], memory_mib=40000, watts=500, at="t")
    assert ops[0] == {"op": "test", "path": "/spec/revision", "value": 7}
    assert ops[1] == {"op": "replace", "path": "/spec/revision", "value": 8}
    assert [op["path"] for op in ops[2:]] == ["/spec/gpus", "/spec/pods"]
    assert ops[2]["value"][1] == {
        "uuid": "G1",
        "allocatableMiB": 80000,
        "floorWatts": 100,
        "claims": [{"podUID": "pod-1", "memoryMiB": 40000, "watts": 500}],
    }
    assert ops[3]["value"] == [
        {"uid": "pod-1", "pool": "chat/llama", "state": "Starting", "epoch": 0, "at": "t"}
    ]


def test_a_claim_shows_in_gpu_zone_and_pods() -> None:
    assert CLAIMED.gpus_of("pod-1") == ("G1",)
    assert [zone.claimed_mib for zone in CLAIMED.zones] == [0, 17000]
    assert charged_watts(CLAIMED) == 600


def test_a_pod_that_holds_something_claims_nothing_more() -> None:
    assert claim(CLAIMED, POD, ["G0"], memory_mib=1, watts=1) == []


def test_a_move_to_asleep_leaves_the_residue_and_no_watts_and_keeps_the_host_memory() -> None:
    asleep = applied(CLAIMED, move(CLAIMED, "pod-1", "Asleep", memory_mib=1600, watts=0, epoch=3, at="u"))
    assert asleep.gpus[1].claimed_mib == 1600
    assert charged_watts(asleep) == 200
    assert asleep.zones == CLAIMED.zones
    assert move(asleep, "pod-1", "Asleep", memory_mib=1600, watts=0, epoch=4, at="v") == []
    elsewhere = move(asleep, "pod-1", "Asleep", memory_mib=1600, watts=0, host_zone=0, host_mib=9000)
    assert [zone.claimed_mib for zone in applied(asleep, elsewhere).zones] == [9000, 0]


def test_release_takes_all_and_twice_is_once() -> None:
    free = applied(CLAIMED, release(CLAIMED, "pod-1"))
    assert (free.gpus, free.zones, free.pods) == (EMPTY.gpus, EMPTY.zones, ())
    assert release(free, "pod-1") == []


def test_an_orphan_is_released_only_as_it_was_judged() -> None:
    assert release(CLAIMED, "pod-1", judged_at="earlier") == []
    assert release(CLAIMED, "nobody", judged_at="t") == []
    assert release(CLAIMED, "pod-1", judged_at="t") == release(CLAIMED, "pod-1")


def test_an_allotment_can_be_set_changed_and_lifted() -> None:
    lower = applied(EMPTY, set_allotment(EMPTY, 800, 600))
    assert (lower.watts_allotted, lower.watts_safe) == (800, 600)
    assert set_allotment(lower, 800, 600) == []
    assert applied(lower, set_allotment(lower, None, None)).watts_allotted is None


def test_new_hardware_keeps_claims_and_a_lost_gpu_stays_while_it_is_claimed() -> None:
    found = [Gpu("G0", 70000, 120), Gpu("G2", 80000, 100)]
    changed = applied(CLAIMED, set_gpus(CLAIMED, found, [Zone(0, 40000)]))
    assert [(g.uuid, g.allocatable_mib, len(g.claims)) for g in changed.gpus] == [
        ("G0", 70000, 0),
        ("G2", 80000, 0),
        ("G1", 0, 1),
    ]
    assert [(z.zone, z.allocatable_mib, z.claimed_mib) for z in changed.zones] == [
        (0, 40000, 0),
        (1, 0, 17000),
    ]
    free = applied(changed, release(changed, "pod-1"))
    assert [g.uuid for g in applied(free, set_gpus(free, found, [Zone(0, 40000)])).gpus] == ["G0", "G2"]


@pytest.mark.parametrize(
    ("memory_mib", "watts", "host_mib", "reason"),
    [
        (80001, 500, 0, "InsufficientMemory"),
        (100, 901, 0, "InsufficientWatts"),
        (100, 500, 50001, "InsufficientHostMemory"),
    ],
)
def test_what_does_not_fit_is_known_before_it_is_written(
    memory_mib: int, watts: int, host_mib: int, reason: str
) -> None:
    ops = claim(EMPTY, POD, ["G0"], memory_mib=memory_mib, watts=watts, host_zone=0, host_mib=host_mib)
    short = fits(EMPTY, ops)
    assert short is not None
    assert short.reason == reason
    assert fits(EMPTY, claim(EMPTY, POD, ["G0"], memory_mib=80000, watts=900)) is None


def test_a_lowered_limit_can_be_recorded_while_claims_are_high() -> None:
    assert fits(CLAIMED, set_allotment(CLAIMED, 300, 300)) is None
    assert fits(CLAIMED, set_gpus(CLAIMED, [Gpu("G0", 80000, 100), Gpu("G1", 30000, 100)])) is None
    cut = applied(CLAIMED, set_allotment(CLAIMED, 300, 300))
    assert fits(cut, move(cut, "pod-1", "Asleep", memory_mib=1600, watts=0)) is None
    grown = claim(cut, PodRef("pod-2", "p/q"), ["G0"], memory_mib=100, watts=200)
    assert getattr(fits(cut, grown), "reason", None) == "InsufficientWatts"


def test_nonsense_is_refused_with_what_to_change() -> None:
    with pytest.raises(LedgerError, match="GPU G9 is not in this node's ledger"):
        claim(EMPTY, POD, ["G9"], memory_mib=1, watts=1)
    with pytest.raises(LedgerError, match="zone 9 is not"):
        claim(EMPTY, POD, ["G0"], memory_mib=1, watts=1, host_zone=9, host_mib=5)
    with pytest.raises(LedgerError, match="claim first"):
        move(EMPTY, "pod-1", "Awake", memory_mib=1, watts=1)


def test_a_ledger_reads_what_it_writes() -> None:
    assert Ledger.from_dict(CLAIMED.to_dict()) == CLAIMED
    assert "wattsSafe" not in CLAIMED.to_dict()
