"""MIG instances: GPUs of their own, with their parent's watts, counted once a parent."""

from __future__ import annotations

from typing import Any

from ingle_core.facts import Columns, GpuNode, node_facts
from ingle_core.ledger import Gpu, Ledger, PodRef, applied, charged_watts, claim, fits, move, release
from ingle_core.placement import Ask, AskMemory, Assumed, Ranking, Reason, rank

PARENT, WHOLE, A, B = "GPU-0", "GPU-1", "MIG-a", "MIG-b"
EMPTY = Ledger(
    gpus=(
        Gpu(PARENT, 0, 100),
        Gpu(A, 20_000, 0, parent=PARENT),
        Gpu(B, 20_000, 0, parent=PARENT),
        Gpu(WHOLE, 0, 50),
    ),
    watts_allotted=550,
)


def seen(uuid: str, total: int, **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "product": "P", "memoryMiB": {"total": total, "free": total}, **more}


def node(ledger: Ledger, **parent: Any) -> GpuNode:
    gpus = [
        seen(PARENT, 80_000, mig=True, numa=3, **parent),
        seen(A, 20_000, parent=PARENT),
        seen(B, 20_000, parent=PARENT),
        seen(WHOLE, 80_000),
    ]
    status = {"observedRevision": ledger.revision, "gpus": gpus}
    return GpuNode.from_dict({"metadata": {"name": "n"}, "spec": ledger.to_dict(), "status": status})


def held(ledger: Ledger, uid: str, gpu: str, watts: int) -> Ledger:
    return applied(ledger, claim(ledger, PodRef(uid, "a/b"), [gpu], memory_mib=10_000, watts=watts))


def awake(ledger: Ledger, uid: str, watts: int) -> Ledger:
    return applied(ledger, move(ledger, uid, "Awake", memory_mib=10_000, watts=watts))


def decide(ledger: Ledger, watts: int, *assumed: Assumed, gpus: int = 1, **parent: Any) -> Ranking:
    columns = Columns()
    columns.update("n", node_facts(node(ledger, **parent), heard_at_s=0))
    return rank(Ask(AskMemory(8_000), watts=watts, gpus=gpus), columns, None, assumed, now_s=0.0)


def test_watts_of_instances_add_up_on_their_parent_and_memory_on_themselves() -> None:
    ledger = held(held(EMPTY, "p", A, 60), "q", B, 90)
    assert [g.claimed_mib for g in ledger.gpus] == [0, 10_000, 10_000, 0]
    assert [g.claimed_watts for g in ledger.gpus] == [150, 0, 0, 0]
    assert charged_watts(ledger) == 150 + 50
    assert charged_watts(held(EMPTY, "p", A, 60)) == 100 + 50  # below the floor
    assert ledger.gpus_of("p") == (A,)


def test_a_move_and_a_release_take_the_parents_share_along() -> None:
    ledger = held(held(EMPTY, "p", A, 60), "q", B, 90)
    asleep = applied(ledger, move(ledger, "p", "Asleep", memory_mib=500, watts=0))
    assert [g.claimed_mib for g in asleep.gpus] == [0, 500, 10_000, 0]
    assert charged_watts(asleep) == 100 + 50
    assert move(asleep, "p", "Asleep", memory_mib=500, watts=0) == []
    assert applied(ledger, release(ledger, "p")).gpus == held(EMPTY, "q", B, 90).gpus


def test_the_rule_on_watts_sees_a_parent_once() -> None:
    ledger = held(EMPTY, "p", A, 300)
    assert fits(ledger, claim(ledger, PodRef("q", "a/b"), [B], memory_mib=1, watts=200)) is None
    short = fits(ledger, claim(ledger, PodRef("q", "a/b"), [B], memory_mib=1, watts=201))
    assert short is not None
    assert short.reason == "InsufficientWatts"


def test_the_ledger_keeps_parents_in_json_and_whole_gpus_have_none() -> None:
    raw = EMPTY.to_dict()
    assert raw["gpus"][1]["parent"] == PARENT
    assert "parent" not in raw["gpus"][0]
    assert Ledger.from_dict(raw) == EMPTY


def test_placement_grants_exactly_the_watts_that_the_ledger_grants() -> None:
    ledger = awake(held(EMPTY, "p", A, 300), "p", 300)
    assert decide(ledger, 200).gpus == (A,)  # the fuller of the two
    assert decide(ledger, 201).reason("n") == Reason.INSUFFICIENT_WATTS
    assert decide(EMPTY, 500).node == "n"
    assert decide(EMPTY, 501).reason("n") == Reason.INSUFFICIENT_WATTS


def test_an_assumed_choice_on_one_instance_takes_watts_from_its_sibling() -> None:
    assumed = Assumed("q", "n", (A,), 20_000, 300)
    assert decide(EMPTY, 200, assumed).gpus == (B,)
    assert decide(EMPTY, 201, assumed).reason("n") == Reason.INSUFFICIENT_WATTS
    assert decide(EMPTY, 90, Assumed("q", "n", (A,), 20_000, 10)).gpus == (B,)


def test_an_instance_starts_while_its_sibling_is_in_a_transition() -> None:
    assert decide(held(EMPTY, "p", A, 10), 10).gpus == (B,)


def test_several_gpus_are_never_instances() -> None:
    assert decide(EMPTY, 10, gpus=2).reason("n") == Reason.WRONG_PRODUCT


def test_an_instance_is_no_healthier_than_its_parent_and_hangs_on_its_zone() -> None:
    assert decide(EMPTY, 10, health="Lost").reason("n") == Reason.GPU_UNHEALTHY
    facts = node_facts(node(EMPTY), heard_at_s=0)
    assert [g.numa for g in facts.gpus] == [3, 3, 3, -1]
    assert [g.healthy for g in facts.gpus] == [False, True, True, True]


def test_an_instance_that_the_ledger_does_not_know_as_one_takes_nothing() -> None:
    unknown = Ledger(gpus=(Gpu(PARENT, 0, 100), Gpu(A, 20_000), Gpu(B, 20_000)))
    assert decide(unknown, 10).reason("n") == Reason.GPU_UNHEALTHY
    alone = Ledger(gpus=(Gpu(A, 20_000, parent="GPU-gone"),))
    assert decide(alone, 10).reason("n") == Reason.GPU_UNHEALTHY
