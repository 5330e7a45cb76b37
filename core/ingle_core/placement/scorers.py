"""Scorers: preference in [0, 1], 1 best. A scorer is one function and one line in a table, with its weight.

A pool may scale each weight by the scorer's name (`placement.scorerPercent`). What somebody prefers (NVLink, NUMA)
weighs more than how nodes fill up. Equal scores are decided by `rank`: least idle GPU memory on the node, then the
node's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ingle_core.facts.groups import Kind
from ingle_core.placement.view import Array, View

GpuScorer = Callable[[View], Array]
NodeScorer = Callable[[View, Array], Array]
Weight = Callable[[View], float]

BETWEEN_LEVELS: Final = 0.005
"""Weight of `full` beside `unfragmented`: less than one of its levels, so it only decides among equals."""


def full(view: View) -> Array:
    """1 − left ÷ allocatable, left = headroom − awake, in MiB: the fullest GPU that fits (best fit)."""
    allocatable = np.maximum(view.gpu["allocatable_mib"], 1).astype(np.float32)
    score: Array = 1.0 - np.clip(view.left_mib.astype(np.float32) / allocatable, 0.0, 1.0)
    return score


def unfragmented(view: View) -> Array:
    """⌊100 × sigmoid(−ΔF ÷ 1000)⌋ ÷ 100, F the milli GPUs that the context's mix cannot use (`fragmentation.py`)."""
    fragmentation = view.context.fragmentation
    if fragmentation is None:
        return np.zeros(view.left_mib.shape, dtype=np.float32)
    return fragmentation.gpu_scores(view, view.context.cpu)


def empty(view: View) -> Array:
    """left ÷ allocatable: the emptiest GPU."""
    score: Array = 1.0 - full(view)
    return score


def near_host(view: View) -> Array:
    """1 where the GPU's own NUMA zone has room for the sleeping replica, else 0."""
    return view.host_near().astype(np.float32)


def room_to_wake(view: View) -> Array:
    """−log₁₀(chance) ÷ 3, chance: that the models on the GPU are wanted at once and do not fit awake (`conflict.py`).

    Inputs: profiles of the context, residents by the ledger.
    """
    conflicts = view.context.conflicts
    if conflicts is None:
        return np.ones(view.left_mib.shape, dtype=np.float32)
    return conflicts.scores(view)


def warm(view: View, _: Array) -> Array:
    """1 where the model's weights are on the node's disk, ½ where only its compile cache is, else 0.

    Inputs: status warm.
    """
    columns, ask = view.columns, view.ask
    weights = columns.weights.mask(ask.stored, columns.rows)
    compiled = columns.compiled.mask(ask.compile_key, columns.rows)
    return np.where(weights, np.float32(1.0), np.float32(0.5) * compiled)


def free_nic(view: View, _: Array) -> Array:
    """1 where the model's weights are on the node's disk, else 1 ÷ (1 + fetches): its share of the node's NIC.

    Fetches: engines that start there, taken to share the NIC fairly. Inputs: ledger pods, status warm.
    """
    local = view.columns.weights.mask(view.ask.stored, view.columns.rows)
    share: Array = np.float32(1.0) / (1 + view.node["fetches"]).astype(np.float32)
    return np.where(local, np.float32(1.0), share)


def same_links(view: View, passed: Array) -> Array:
    """1 where enough fitting GPUs are each linked with all others, else 0."""
    return _near_set(view, passed, "link")


def same_zone(view: View, passed: Array) -> Array:
    """1 where enough fitting GPUs are in one NUMA zone, else 0; where some are linked too, those count, since GPUs
    are chosen by links first."""
    found = _near_set(view, passed, "zone")
    if view.ask.nvlink == "None":
        return found
    return np.where(_near_set(view, passed, "link") > 0, _near_set(view, passed, "both"), found)


def _near_set(view: View, passed: Array, kind: Kind) -> Array:
    found: Array = view.largest_near(passed, kind) >= view.ask.gpus
    return found.astype(np.float32)


def _if_packing(view: View) -> float:
    if view.ask.strategy != "Pack":
        return 0.0
    return 1.0 if view.context.fragmentation is None else BETWEEN_LEVELS


def _if_mix_known(view: View) -> float:
    return 1.0 if view.ask.strategy == "Pack" and view.context.fragmentation is not None else 0.0


def _if_spreading(view: View) -> float:
    return 1.0 if view.ask.strategy == "Spread" else 0.0


def _if_host_matters(view: View) -> float:
    return 2.0 if view.ask.numa == "Preferred" and view.ask.memory_mib.host > 0 else 0.0


def _if_wanted_times_known(view: View) -> float:
    """Above `full`: tenfold the chance of a conflict weighs as much as an empty GPU against a full one."""
    conflicts = view.context.conflicts
    return 3.0 if conflicts is not None and conflicts.knows(view.ask.pool) else 0.0


def _if_model_told(view: View) -> float:
    return 1.5 if view.ask.stored or view.ask.compile_key else 0.0


def _if_weights_told(view: View) -> float:
    return 0.5 if view.ask.stored else 0.0


def _if_links_matter(view: View) -> float:
    return 4.0 if view.ask.nvlink == "Preferred" and view.ask.gpus > 1 else 0.0


def _if_zone_matters(view: View) -> float:
    return 2.0 if view.ask.numa == "Preferred" and view.ask.gpus > 1 else 0.0


GPU_SCORERS: Final[tuple[tuple[str, GpuScorer, Weight], ...]] = (
    ("full", full, _if_packing),
    ("unfragmented", unfragmented, _if_mix_known),
    ("empty", empty, _if_spreading),
    ("nearHost", near_host, _if_host_matters),
    ("roomToWake", room_to_wake, _if_wanted_times_known),
)
NODE_SCORERS: Final[tuple[tuple[str, NodeScorer, Weight], ...]] = (
    ("sameLinks", same_links, _if_links_matter),
    ("sameZone", same_zone, _if_zone_matters),
    ("warm", warm, _if_model_told),
    ("freeNic", free_nic, _if_weights_told),
)


def _weight(view: View, name: str, weight_of: Weight) -> float:
    return weight_of(view) * view.ask.scorers.get(name, 100) / 100


def gpu_scores(view: View) -> Array:
    """Weighted sum of all GPU scorers, shape (GPUs, rows)."""
    total: Array = np.zeros(view.left_mib.shape, dtype=np.float32)
    for name, scorer, weight_of in GPU_SCORERS:
        weight = _weight(view, name, weight_of)
        if weight:
            total = total + weight * scorer(view)
    return total


def node_scores(view: View, passed: Array, per_gpu: Array) -> Array:
    """Mean of the best GPUs' scores plus the weighted node scorers, shape (rows,). Rows that do not fit: −1."""
    count = view.ask.gpus
    enough = passed.sum(axis=0, dtype=np.int8) >= count
    best: Array
    if count == 1:
        best = np.where(passed, per_gpu, np.float32(-1.0)).max(axis=0)
    else:
        best = mean_of_best(np.where(passed, per_gpu, np.float32(-1.0)), count)
    for name, scorer, weight_of in NODE_SCORERS:
        weight = _weight(view, name, weight_of)
        if weight:
            best = best + weight * scorer(view, passed)
    return np.where(enough, np.round(best, 5), -1.0)


def mean_of_best(scores: Array, count: int) -> Array:
    """Per column the mean of the `count` greatest: each row is let in among the greatest so far, for to sort all columns
    takes several times as long."""
    greatest: list[Array] = []
    for row in scores:
        for i, held in enumerate(greatest):
            greatest[i], row = np.maximum(held, row), np.minimum(held, row)
        if len(greatest) < count:
            greatest.append(row)
    total: Array = greatest[-1]
    for row in greatest[-2::-1]:
        total = total + row
    return total / np.float32(count)
