"""Fragmentation: the measure's published values, what it changes in a choice, and what is remembered."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.placement import Ask, AskMemory, Assumed, Context, rank
from ingle_core.placement.fragmentation import Fragmentation, level
from ingle_core.placement.mix import AskClass, Cpu, Mix, mix_of
from ingle_core.placement.view import View

# Cases of kubernetes-scheduler-simulator:pkg/utils/frag_test.go: CPU, GPU share, GPUs, product, %
PUBLISHED = """6000 465 1 - 9.33,8000 440 1 2080 9.15,8000 475 1 T4 8.76,8000 440 1 P100 8.72,2000 465 1 - 8.68,
12000 900 1 - 8.65,4000 900 1 - 8.43,16000 678 1 T4 8.36,8000 500 1 - 8.29,6000 511 1 - 8.11,14000 1000 2 2080 .54,
4000 1000 1 2080 .43,32000 1000 2 T4 .43,16000 1000 1 V100M16 .4,64000 1000 2 - .4,10000 1000 2 - .4,
11400 1000 1 T4 .36,16000 1000 1 T4 .36,4000 1000 2 - .36,14000 1000 2 V100M16 .36,8000 1000 4 - .36,
16000 1000 2 - .32,2000 1000 1 T4 .32,6000 1000 1 - .32,4000 1000 1 - .32,5000 1000 1 - .32,32000 1000 4 V100M16 .32,
32000 1000 2 - .32,24000 1000 8 2080 .32,40000 1000 4 - .29,32000 1000 8 - .29,32000 1000 1 T4 .29,16000 1000 1 - .25,
7000 1000 1 V100M16 .25,24000 1000 1 T4 .25"""
WITH_CPU_ONLY = """15700 1000 1 - 28.69,11900 1000 1 - 18.93,11400 1000 1 - 12.27,1000 0 0 - 7.36,18710 1000 1 - 4.85,
8200 1000 1 - 3.79,16400 1000 1 - 3.31,9810 1000 1 - 1.97,15200 1000 1 - 1.87,11200 1000 1 - 1.81,14200 1000 1 - 1.76,
12000 0 0 - 1.65,14900 1000 1 - 1.39,60200 1000 4 - 1.23,64200 1000 8 - 1.07,32200 1000 4 - 1.01,17400 1000 2 - .91,
30200 1000 2 - .69,16000 1000 1 - .64,15000 1000 1 - .59,64000 1000 8 - .53,15000 0 0 - .53,11910 1000 1 - .53,
120200 1000 8 - .48,11300 1000 1 - .37,30000 1000 2 - .32,9800 1000 1 - .32,8000 1000 1 - .32,2000 1000 1 - .27,
2000 80 1 - .27,1000 1000 1 - .27"""
ONE_CLASS = "6000 465 1 - 9.33"


def mix(text: str) -> Mix:
    rows = [line.split() for line in text.replace("\n", "").split(",")]
    classes = [
        AskClass(int(milli), int(gpus), () if product == "-" else (product,), int(cpu))
        for cpu, milli, gpus, product, _ in rows
    ]
    return Mix(tuple(classes), tuple(float(row[-1]) / 100 for row in rows))


def columns(*nodes: list[int], product: str = "1080", allocatable_mib: int = 1000) -> Columns:
    made = Columns(nodes=2, gpus=2)
    for n, idle in enumerate(nodes):
        made.update(f"n{n}", node(n, idle, product, allocatable_mib))
    return made


def node(n: int, idle: list[int], product: str = "1080", allocatable_mib: int = 1000) -> GpuNodeFacts:
    gpus = (GpuFacts(f"n{n}-{i}", product, allocatable_mib, mib) for i, mib in enumerate(idle))
    return GpuNodeFacts(tuple(gpus))


def view(made: Columns, asked: Ask, *assumed: Assumed) -> View:
    return View(asked, made, assumed, now_s=0.0, silent_after_s=90.0)


def ask(milli: int, gpus: int = 1, products: tuple[str, ...] = ()) -> Ask:
    return Ask(AskMemory(milli), gpus=gpus, products=products, numa="None", nvlink="None")


@pytest.mark.parametrize(
    ("classes", "idle", "cpu", "product", "expected"),
    [
        (PUBLISHED, [200, 1000, 1000, 500], 1000, "1080", 2566.62),
        (PUBLISHED, [1000] * 4, 1000, "1080", 3802.40),
        (PUBLISHED, [1000] * 8, 1000, "1080", 7604.80),
        (ONE_CLASS, [200, 1000, 1000, 500], 1000, "1080", 251.91),
        (WITH_CPU_ONLY, [1000] * 8, 64000, "P100", 887.20),
        (WITH_CPU_ONLY, [1000] * 4 + [0] * 4, 32000, "P100", 554.40),
        (WITH_CPU_ONLY, [1000] * 4 + [0] * 4, 0, "P100", 4000.0),
    ],
)
def test_the_authors_values_come_out(
    classes: str, idle: list[int], cpu: int, product: str, expected: float
) -> None:
    made = columns(idle, product=product)
    found = Fragmentation(mix(classes)).fragments_milli(view(made, ask(1)), Cpu(0, np.array([cpu])))
    assert found[0] == pytest.approx(expected, abs=0.01)


def test_milli_is_a_share_of_the_gpus_own_memory() -> None:
    small = Fragmentation(Mix((AskClass(500),), (1.0,))).fragments_milli(view(columns([400, 900]), ask(1)))
    made = columns([40000, 90000], allocatable_mib=100000)
    large = Fragmentation(Mix((AskClass(50000),), (1.0,))).fragments_milli(view(made, ask(1)))
    assert small[0] == large[0] == 400.0


def test_a_level_is_one_half_where_nothing_grows_and_less_where_fragments_grow() -> None:
    assert level(np.array([0.0, 1e-9, -1e-9])).tolist() == pytest.approx([0.5] * 3)
    assert level(np.array([1000.0, -1000.0])).tolist() == pytest.approx([0.26, 0.73])


def test_it_leaves_a_gpu_whole_where_plain_best_fit_would_spoil_it() -> None:
    made = columns([700], [1000])
    fragmentation = Fragmentation(Mix((AskClass(700), AskClass(300)), (0.9, 0.1)))
    assert rank(ask(300), made, now_s=0.0).node == "n0"
    assert rank(ask(300), made, now_s=0.0, context=Context(fragmentation)).node == "n1"


def test_it_leaves_alone_a_choice_where_all_grow_alike() -> None:
    made = columns([700], [800])
    fragmentation = Fragmentation(Mix((AskClass(100),), (1.0,)))
    assert rank(ask(300), made, now_s=0.0, context=Context(fragmentation)).node == "n0"
    assert rank(ask(300), made, now_s=0.0).node == "n0"


def test_pods_that_spread_do_not_ask_it() -> None:
    made = columns([700], [1000])
    spread = Ask(AskMemory(300), strategy="Spread")
    context = Context(Fragmentation(Mix((AskClass(1000),), (1.0,))))
    assert rank(spread, made, now_s=0.0, context=context).node == "n1"


def test_cpu_that_runs_out_makes_all_idle_memory_a_fragment() -> None:
    made = columns([1000], [1000])
    fragmentation = Fragmentation(Mix((AskClass(500, cpu_milli=4000),), (1.0,)))
    tight = Context(fragmentation, Cpu(2000, np.array([5000, 8000])))
    assert rank(ask(500), made, now_s=0.0, context=tight).node == "n1"


def test_what_is_assumed_for_others_counts() -> None:
    made = columns([1000], [1000])
    context = Context(Fragmentation(Mix((AskClass(600),), (1.0,))))
    assumed = Assumed("u", "n0", ("n0-0",), 600, 0)
    before = rank(ask(400), made, assumed=[assumed], now_s=0.0, context=context)
    assert before.node == "n1"  # n0's GPU is in transition
    fragments = context.fragmentation.fragments_milli(view(made, ask(400), assumed))  # type: ignore[union-attr]
    assert fragments.tolist() == [400.0, 0.0]


def test_several_gpus_are_the_fullest_that_fit() -> None:
    made = columns([500, 1000, 500, 1000])
    fragmentation = Fragmentation(Mix((AskClass(1000),), (1.0,)))
    assert rank(ask(500, gpus=2), made, now_s=0.0, context=Context(fragmentation)).gpus == ("n0-0", "n0-2")


def test_a_pod_without_gpus_prefers_nodes_without_idle_ones() -> None:
    made = columns([1000], [0])
    fragmentation = Fragmentation(Mix((AskClass(500, cpu_milli=4000),), (1.0,)))
    scores = fragmentation.node_scores(view(made, ask(1)), Cpu(2000, np.array([4000, 4000])))
    assert scores.tolist() == pytest.approx([0.26, 0.5])
    short = fragmentation.node_scores(view(made, ask(1)), Cpu(5000, np.array([4000, 4000])))
    assert short.tolist() == [0.0, 0.0]


IDLE = st.lists(st.sampled_from([-100, 0, 200, 500, 700, 1000]), min_size=1, max_size=4)
ASKS = st.tuples(
    st.sampled_from([200, 500, 1000]), st.integers(1, 3), st.sampled_from([(), ("1080",), ("T4",)])
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(IDLE, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 5), IDLE, st.sampled_from(["1080", "T4"]), ASKS), max_size=8),
)
def test_what_is_remembered_is_what_is_computed_anew(
    nodes: list[list[int]],
    steps: list[tuple[int, list[int], str, tuple[int, int, tuple[str, ...]]]],
) -> None:
    made = columns(*nodes)
    classes = (AskClass(200), AskClass(500, products=("T4",)), AskClass(1000, 2), AskClass(0, 0, (), 100))
    kept = Fragmentation(Mix(classes, (0.4, 0.3, 0.2, 0.1)))
    for n, idle, product, (milli, gpus, products) in steps:
        made.update(f"n{n}", node(n, idle, product))
        seen = view(made, ask(milli, gpus, products))
        fresh = Fragmentation(kept.mix)
        assert kept.gpu_scores(seen).tolist() == fresh.gpu_scores(seen).tolist()
        assert kept.fragments_milli(seen).tolist() == pytest.approx(fresh.fragments_milli(seen).tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(IDLE, st.lists(st.sampled_from(["1080", "T4"]), min_size=4, max_size=4)),
        min_size=1,
        max_size=3,
    ),
    st.lists(ASKS, min_size=1, max_size=5),
    st.sampled_from([200, 300, 500]),
)
def test_a_score_is_the_level_of_what_f_grows_by_where_the_memory_is_really_taken(
    nodes: list[tuple[list[int], list[str]]], classes: list[tuple[int, int, tuple[str, ...]]], asked: int
) -> None:
    shares = (1.0 / len(classes),) * len(classes)
    measured = Mix(tuple(AskClass(milli, gpus, products) for milli, gpus, products in classes), shares)

    def f(idle: list[int], products: list[str]) -> float:
        made = Columns(nodes=1, gpus=4)
        gpus = (GpuFacts(f"g{i}", products[i], 1000, mib) for i, mib in enumerate(idle))
        made.update("n", GpuNodeFacts(tuple(gpus)))
        return float(Fragmentation(measured).fragments_milli(view(made, ask(1)))[0])

    made = Columns(nodes=1, gpus=4)
    for n, (idle, products) in enumerate(nodes):
        gpus = (GpuFacts(f"n{n}-{i}", products[i], 1000, mib) for i, mib in enumerate(idle))
        made.update(f"n{n}", GpuNodeFacts(tuple(gpus)))
    scores = Fragmentation(measured).gpu_scores(view(made, ask(asked)))
    for n, (idle, products) in enumerate(nodes):
        for i, mib in enumerate(idle):
            if mib >= asked:
                taken = [*idle[:i], mib - asked, *idle[i + 1 :]]
                expected = level(np.array([f(taken, products) - f(idle, products)]))
                assert scores[i, n] == pytest.approx(expected[0])
            else:
                assert scores[i, n] == 0.0


def test_a_mix_is_what_is_asked_most() -> None:
    often, seldom = AskClass(500), AskClass(700)
    assert mix_of([often] * 95 + [seldom] * 5) == Mix((often,), (1.0,))
    assert mix_of([often] * 3 + [seldom]) == Mix((often, seldom), (0.75, 0.25))
    assert mix_of([]) is None


@pytest.mark.parametrize(
    ("classes", "shares", "said"),
    [
        ((), (), "0 classes"),
        ((AskClass(1),), (0.5, 0.5), "1 classes, 2 shares"),
        ((AskClass(1),), (1.5,), r"mix\.shares\[0\] must be in \[0, 1\], not 1\.5"),
        ((AskClass(1),) * 129, (0.0,) * 129, "at most 128"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(
    classes: tuple[AskClass, ...], shares: tuple[float, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Mix(classes, shares)
