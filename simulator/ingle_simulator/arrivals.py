"""Arrivals from a list of pods: shuffled, then drawn again or removed until they ask for a share of all GPUs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ingle_simulator.openb import TracePod


def arrivals(pods: Sequence[TracePod], luck: random.Random, target_milli: int) -> list[TracePod]:
    """A shuffled copy that asks for `target_milli` of GPUs in all, as the authors of FGD tune a workload.

    Too little: pods drawn with replacement are appended until one GPU of the next would exceed it. Too much: random ones go.
    """
    found = sorted(pods, key=lambda pod: pod.name)
    if not any(pod.total_milli for pod in found):
        return []
    luck.shuffle(found)
    asked_milli = sum(pod.total_milli for pod in found)
    while asked_milli > target_milli:
        asked_milli -= found.pop(luck.randrange(len(found))).total_milli
    while asked_milli < target_milli:
        drawn = luck.choice(pods)
        if asked_milli + drawn.gpu_milli > target_milli:
            break
        asked_milli += drawn.total_milli
        found.append(drawn)
    return found
