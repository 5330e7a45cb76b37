"""Scorers: preference in [0, 1], 1 best. A scorer is one function and one line in a table, with its weight.

What somebody prefers (NVLink, NUMA) weighs more than how nodes fill up. Equal scores are decided by `rank`: least
idle GPU memory on the node, then the node's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ingle_core.placement.ask import Ask
from ingle_core.placement.filters import in_large_group
from ingle_core.placement.view import Array, View

GpuScorer = Callable[[View], Array]
NodeScorer = Callable[[View, Array], Array]
Weight = Callable[[Ask], float]


def full(view: View) -> Array:
    """1 − left ÷ allocatable, left = headroom − awake, in MiB: the fullest GPU that fits (best fit)."""
    allocatable = np.maximum(view.gpu["allocatable_mib"], 1).astype(np.float32)
    score: Array = 1.0 - np.clip(view.left_mib / allocatable, 0.0, 1.0)
    return score


def empty(view: View) -> Array:
    """left ÷ allocatable: the emptiest GPU."""
    score: Array = 1.0 - full(view)
    return score


def near_host(view: View) -> Array:
    """1 where the GPU's own NUMA zone has room for the sleeping replica, else 0."""
    return view.host_near().astype(np.float32)


def same_links(view: View, passed: Array) -> Array:
    """1 where enough fitting GPUs are linked with each other, else 0."""
    return _any_group(view, passed, "link_group")


def same_zone(view: View, passed: Array) -> Array:
    """1 where enough fitting GPUs are in one NUMA zone, else 0."""
    return _any_group(view, passed, "zone_group")


def _any_group(view: View, passed: Array, group: str) -> Array:
    found: Array = np.asarray(in_large_group(passed, view.gpu[group], view.ask.gpus).any(axis=0))
    return found.astype(np.float32)


def _if_packing(ask: Ask) -> float:
    return 1.0 if ask.strategy == "Pack" else 0.0


def _if_spreading(ask: Ask) -> float:
    return 1.0 if ask.strategy == "Spread" else 0.0


def _if_host_matters(ask: Ask) -> float:
    return 2.0 if ask.numa == "Preferred" and ask.memory_mib.host > 0 else 0.0


def _if_links_matter(ask: Ask) -> float:
    return 4.0 if ask.nvlink == "Preferred" and ask.gpus > 1 else 0.0


def _if_zone_matters(ask: Ask) -> float:
    return 2.0 if ask.numa == "Preferred" and ask.gpus > 1 else 0.0


GPU_SCORERS: Final[tuple[tuple[str, GpuScorer, Weight], ...]] = (
    ("full", full, _if_packing),
    ("empty", empty, _if_spreading),
    ("near-host", near_host, _if_host_matters),
)
NODE_SCORERS: Final[tuple[tuple[str, NodeScorer, Weight], ...]] = (
    ("same-links", same_links, _if_links_matter),
    ("same-zone", same_zone, _if_zone_matters),
)


def gpu_scores(view: View) -> Array:
    """Weighted sum of all GPU scorers, shape (GPUs, rows)."""
    total: Array = np.zeros(view.left_mib.shape, dtype=np.float32)
    for _, scorer, weight_of in GPU_SCORERS:
        weight = weight_of(view.ask)
        if weight:
            total = total + weight * scorer(view)
    return total


def node_scores(view: View, passed: Array, per_gpu: Array) -> Array:
    """Mean of the best GPUs' scores plus the weighted node scorers, shape (rows,). Rows that do not fit: −1."""
    count = view.ask.gpus
    masked = np.where(passed, per_gpu, np.float32(-1.0))
    if count == 1:
        best: Array = masked.max(axis=0)
    elif count > masked.shape[0]:
        return np.full(masked.shape[1], -1.0)
    else:
        best = np.sort(masked, axis=0)[-count:].mean(axis=0)
    for _, scorer, weight_of in NODE_SCORERS:
        weight = weight_of(view.ask)
        if weight:
            best = best + weight * scorer(view, passed)
    return np.where(passed.sum(axis=0, dtype=np.int8) >= count, np.round(best, 5), -1.0)
