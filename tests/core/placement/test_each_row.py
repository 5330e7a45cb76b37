"""Each filter and each scorer changes a decision and leaves one alone: the same question with and without its row.

Every question is between two nodes, and without the row `a` is chosen. The row makes that `b` in the first question of
its case and leaves `a` in the second, which it is asked too.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, Resident, ZoneFacts
from ingle_core.placement import Ask, AskMemory, Context, filters, rank, scorers
from ingle_core.placement.conflict import Conflicts, Profile
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.mix import AskClass, Mix
from ingle_core.placement.reasons import NAMES
from ingle_core.placement.view import View
from ingle_kit.objects.placement import ScorerPercent

DAY, NIGHT = (100,) * 12 + (0,) * 12, (0,) * 12 + (100,) * 12


def gpu(uuid: str, headroom_mib: int, **more: Any) -> GpuFacts:
    return GpuFacts(uuid, "H100", 80_000, headroom_mib, **more)


def node(*gpus: GpuFacts, **more: Any) -> GpuNodeFacts:
    return GpuNodeFacts(gpus, **more)


def ask(awake: int = 40_000, host: int = 0, **more: Any) -> Ask:
    return Ask(AskMemory(awake, 1_000, host), **{"watts": 300, **more})


class Question(NamedTuple):
    """Where to? `a` or `b`."""

    a: GpuNodeFacts
    b: GpuNodeFacts
    ask: Ask = ask()
    context: Context = Context()

    def columns(self) -> Columns:
        columns = Columns(nodes=1, gpus=1, zones=1)
        columns.update("b", self.b)
        columns.update("a", self.a)
        return columns

    def answer(self) -> tuple[str | None, tuple[str, ...]]:
        ranking = rank(self.ask, self.columns(), now_s=0.0, context=self.context)
        return ranking.node, ranking.gpus

    def asks(self, name: str) -> bool:
        """Whether that scorer has a weight here."""
        columns, asked = self.columns(), {"now_s": 0.0, "silent_after_s": 90.0, "context": self.context}
        view = View(self.ask, columns, (), **asked)
        return any(row[0] == name and row[-1](view) > 0 for row in SCORER_ROWS)


FULLER, EMPTIER = node(gpu("a0", 41_000)), node(gpu("b0", 60_000))


def of_node(**fault: Any) -> tuple[Question, Question]:
    """A fault of the fuller node, and the same of the other one."""
    return Question(replace(FULLER, **fault), EMPTIER), Question(FULLER, replace(EMPTIER, **fault))


def by_watts(allotted_w: int) -> Question:
    """a0 grows by what is asked, a1 is charged for more than that already."""
    gpus = (gpu("a0", 41_000, claimed_w=500), gpu("a1", 70_000, floor_w=400))
    return Question(node(*gpus, allotted_w=allotted_w), EMPTIER)


def by_host(near_mib: int, **level: Any) -> Question:
    """The full GPU's own zone has `near_mib` of host memory, another one has plenty."""
    gpus = (gpu("a0", 41_000, numa=0), gpu("a1", 75_000, numa=1))
    a = node(*gpus, zones=(ZoneFacts(0, near_mib), ZoneFacts(1, 50_000)))
    b = node(gpu("b0", 60_000, numa=0), zones=(ZoneFacts(0, 50_000),))
    return Question(a, b, ask(host=10_000, **level))


def by_group(fact: str, alone: Any, together: Any, **levels: Any) -> Question:
    """Of a's GPUs a0 and a1 are fullest, but only a1 and a2 are near each other."""
    a = (
        gpu("a0", 41_000, **{fact: alone}),
        gpu("a1", 41_000, **{fact: together}),
        gpu("a2", 75_000, **{fact: together}),
    )
    b = (gpu("b0", 55_000, **{fact: together}), gpu("b1", 55_000, **{fact: together}))
    return Question(node(*a), node(*b), ask(gpus=2, **levels))


def by_pair(fact: str, a: tuple[Any, Any], b: tuple[Any, Any], **levels: Any) -> Question:
    """Two GPUs each, a's are fuller."""
    fuller = node(*(gpu(f"a{i}", 41_000, **{fact: a[i]}) for i in (0, 1)))
    emptier = node(*(gpu(f"b{i}", 75_000, **{fact: b[i]}) for i in (0, 1)))
    return Question(fuller, emptier, ask(gpus=2, **levels))


def by_fragments(b_mib: int, asked_mib: int, *mix: tuple[int, float]) -> Question:
    classes, shares = zip(*mix, strict=True)
    known = Fragmentation(Mix(tuple(map(AskClass, classes)), shares))
    return Question(node(gpu("a0", 56_000)), node(gpu("b0", b_mib)), ask(asked_mib), Context(known))


def by_sleepers(awake_mib: int) -> Question:
    """A sleeper is on each; a's is wanted by day as the new pool is, b's by night."""
    known = Conflicts()
    for pool, hours in (("d/new", DAY), ("d/day", DAY), ("d/night", NIGHT)):
        known.learn(pool, Profile(awake_mib, 2_000, hours))
    a = gpu("a0", 60_000, residents=(Resident("d/day", 2_000, True),))
    b = gpu("b0", 78_000, residents=(Resident("d/night", 2_000, True),))
    return Question(node(a), node(b), ask(awake_mib, pool="d/new"), Context(conflicts=known))


LINKED = ("a0", "a1", "a2", "b0", "b1")
H100 = ask(products=("H100",))
T4 = GpuFacts("b0", "T4", 80_000, 60_000)
NO_LINKS = {"nvlink": "None"}
FILTERS = {
    "NodeNotReady": of_node(ready=False),
    "Cordoned": of_node(cordoned=True),
    "AgentSilent": (
        Question(replace(FULLER, heard_at_s=-91.0), EMPTIER),
        Question(replace(FULLER, heard_at_s=-90.0), EMPTIER),
    ),
    "LedgerBehind": of_node(whole=False),
    "WrongProduct": (
        Question(node(replace(T4, uuid="a0", headroom_mib=41_000)), EMPTIER, H100),
        Question(FULLER, node(T4), H100),
    ),
    "GpuUnhealthy": (
        Question(node(gpu("a0", 41_000, healthy=False)), EMPTIER),
        Question(node(gpu("a0", 41_000), gpu("a1", 50_000, healthy=False)), EMPTIER),
    ),
    "InsufficientMemory": (
        Question(node(gpu("a0", 39_999)), EMPTIER),
        Question(node(gpu("a0", 40_000)), EMPTIER),
    ),
    "InsufficientWatts": (by_watts(900), by_watts(1_200)),
    "TransitionBusy": (
        Question(node(gpu("a0", 41_000, busy=True)), EMPTIER),
        Question(node(gpu("a0", 41_000), gpu("a1", 50_000, busy=True)), EMPTIER),
    ),
    "InsufficientHostMemory": (by_host(9_999, numa="Required"), by_host(10_000, numa="Required")),
    "NumaSplit": (
        by_group("numa", 0, 1, numa="Required", **NO_LINKS),
        by_group("numa", 1, 1, numa="Required", **NO_LINKS),
    ),
    "NvlinkSplit": (
        by_group("nvlink_peers", (), LINKED, nvlink="Required"),
        by_group("nvlink_peers", LINKED, LINKED, nvlink="Required"),
    ),
}
TWO_GPUS = node(gpu("b0", 45_000), gpu("b1", 80_000))
SPREAD = ask(strategy="Spread")
SCORERS = {
    "full": (Question(node(gpu("a0", 60_000)), TWO_GPUS), Question(FULLER, EMPTIER)),
    "unfragmented": (
        by_fragments(80_000, 24_000, (56_000, 0.9), (24_000, 0.1)),
        by_fragments(64_000, 24_000, (8_000, 1.0)),
    ),
    "empty": (
        Question(FULLER, EMPTIER, SPREAD),
        Question(node(gpu("a0", 60_000)), node(gpu("b0", 45_000), gpu("b1", 45_000)), SPREAD),
    ),
    "nearHost": (by_host(9_999), by_host(10_000)),
    "roomToWake": (by_sleepers(50_000), by_sleepers(30_000)),
    "sameLinks": (
        by_pair("nvlink_peers", ((), ()), (LINKED, LINKED)),
        by_pair("nvlink_peers", (LINKED, LINKED), (LINKED, LINKED)),
    ),
    "sameZone": (
        by_pair("numa", (0, 1), (0, 0), **NO_LINKS),
        by_pair("numa", (1, 1), (0, 0), **NO_LINKS),
    ),
    "warm": (
        Question(FULLER, replace(EMPTIER, weights=frozenset({"m"})), ask(model="m")),
        Question(FULLER, replace(EMPTIER, weights=frozenset({"other"})), ask(model="m")),
    ),
    "freeNic": (
        Question(replace(FULLER, fetches=3), EMPTIER, ask(model="m")),
        Question(replace(FULLER, fetches=3), replace(EMPTIER, fetches=3), ask(model="m")),
    ),
}
CASES = FILTERS | SCORERS
SCORER_ROWS = (*scorers.GPU_SCORERS, *scorers.NODE_SCORERS)


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Takes one row out of its table."""
    ranking = sys.modules[rank.__module__]  # its name is shadowed by the function's
    for module in (ranking, scorers):
        for table in ("NODE_FILTERS", "GPU_FILTERS", "NODE_SCORERS", "GPU_SCORERS"):
            rows = getattr(module, table, ())
            left = tuple(row for row in rows if NAMES.get(row[0], row[0]) != name)
            if len(left) < len(rows):
                monkeypatch.setattr(module, table, left)


@pytest.mark.parametrize("name", CASES)
def test_a_row_changes_a_decision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question, _ = CASES[name]
    assert question.answer()[0] == "b"
    without(monkeypatch, name)
    assert question.answer()[0] == "a"


@pytest.mark.parametrize("name", CASES)
def test_a_row_leaves_a_decision_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, question = CASES[name]
    answer = question.answer()
    assert answer[0] == "a"
    assert name in FILTERS or question.asks(name)
    without(monkeypatch, name)
    assert question.answer() == answer


@pytest.mark.parametrize("name", SCORERS)
def test_a_pool_may_leave_a_scorer_out(name: str) -> None:
    question, _ = CASES[name]
    assert question.answer()[0] == "b"
    assert question._replace(ask=structs.replace(question.ask, scorers={name: 0})).answer()[0] == "a"


def test_a_pool_names_every_scorer_there_is() -> None:
    assert sorted(ScorerPercent().model_dump(by_alias=True)) == sorted(row[0] for row in SCORER_ROWS)


def test_every_row_of_the_tables_has_its_case() -> None:
    found = [NAMES[reason] for reason, _ in (*filters.NODE_FILTERS, *filters.GPU_FILTERS)]
    assert sorted(FILTERS) == sorted(found)
    assert sorted(SCORERS) == sorted(row[0] for row in SCORER_ROWS)
