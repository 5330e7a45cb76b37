"""Warm placement: a node that has the model's weights or compile cache on its disk."""

from __future__ import annotations

import pytest

from ingle_core.facts import Columns, GpuFacts, GpuNode, GpuNodeFacts, node_facts
from ingle_core.facts.rowsets import RowSets
from ingle_core.placement import Ask, AskMemory, rank


def node(
    name: str, headroom_mib: int, weights: tuple[str, ...] = (), compiled: tuple[str, ...] = ()
) -> GpuNodeFacts:
    gpu = GpuFacts(f"GPU-{name}", "H100", 80_000, headroom_mib)
    return GpuNodeFacts((gpu,), weights=frozenset(weights), compiled=frozenset(compiled))


def columns(**nodes: GpuNodeFacts) -> Columns:
    made = Columns(nodes=1, gpus=1, zones=1)
    for name, facts in nodes.items():
        made.update(name, facts)
    return made


def chosen(made: Columns, model: str = "", key: str = "") -> str | None:
    return rank(Ask(AskMemory(40_000), model=model, compile_key=key), made, now_s=0.0).node


def test_a_node_with_the_weights_is_chosen_though_another_is_fuller() -> None:
    made = columns(full=node("full", 40_000), warm=node("warm", 80_000, ("qwen/qwen3-8b",)))
    assert chosen(made) == "full"
    assert chosen(made, "qwen/qwen3-8b") == "warm"


def test_weights_of_another_model_change_nothing() -> None:
    made = columns(full=node("full", 40_000), warm=node("warm", 80_000, ("qwen/qwen3-8b",)))
    assert chosen(made, "llama-8b") == "full"


def test_a_compile_cache_counts_less_than_weights() -> None:
    made = columns(
        full=node("full", 60_000), compiled=node("b", 70_000, (), ("k",)), weights=node("c", 80_000, ("m",))
    )
    assert chosen(made, "m", "k") == "weights"
    assert chosen(made, "other", "k") == "compiled"


def test_a_warm_node_without_room_is_not_chosen() -> None:
    made = columns(full=node("full", 40_000), warm=node("warm", 39_000, ("m",)))
    assert chosen(made, "m") == "full"


def test_what_a_node_lost_is_forgotten_and_a_removed_nodes_row_is_cold() -> None:
    made = columns(a=node("a", 40_000), b=node("b", 80_000, ("m",)))
    made.update("b", node("b", 80_000))
    assert chosen(made, "m") == "a"
    made.update("b", node("b", 80_000, ("m",)))
    made.remove("b")
    made.update("c", node("c", 80_000))
    assert chosen(made, "m") == "a"


def test_the_agents_report_becomes_facts_and_unknown_kinds_are_left_out() -> None:
    warm = [
        {"kind": "Weights", "model": "m"},
        {"kind": "CompileCache", "key": "k"},
        {"kind": "Launcher", "key": "x"},
    ]
    facts = node_facts(
        GpuNode.from_dict({"metadata": {"name": "n"}, "status": {"warm": warm}}), heard_at_s=0.0
    )
    assert facts.weights == {"m"}
    assert facts.compiled == {"k"}


@pytest.mark.parametrize("again", [False, True])
def test_row_sets_keep_only_names_that_some_row_has(again: bool) -> None:
    sets = RowSets()
    sets.put(3, frozenset("ab"))
    sets.put(1, frozenset("b"))
    if again:
        sets.put(3, frozenset("ab"))
    assert sets.mask("b", 4).tolist() == [False, True, False, True]
    sets.put(3, frozenset("c"))
    assert sets.rows("a") == frozenset()
    assert sets.rows("b") == {1}
    assert sets.mask("a", 4).tolist() == [False] * 4
