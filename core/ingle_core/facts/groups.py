"""GPUs of one node in groups that are near each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def clique_groups(uuids: Sequence[str], peers: Sequence[Collection[str]]) -> list[int]:
    """A group number per GPU such that all GPUs of a group are linked with each other.

    Greedy in the order of the GPUs: each group is a true clique, and on the shapes that exist (switch, pairs, two
    meshes of four, no links) the largest. A link that only one side reports does not count.
    """
    linked = [set(p) for p in peers]
    groups = [-1] * len(uuids)
    for i in range(len(uuids)):
        if groups[i] >= 0:
            continue
        members = [i]
        for j in range(i + 1, len(uuids)):
            if groups[j] < 0 and all(uuids[m] in linked[j] and uuids[j] in linked[m] for m in members):
                members.append(j)
        for m in members:
            groups[m] = i
    return groups


def joint_groups(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Groups of GPUs that share both groups; −1 where either is unknown."""
    pairs = list(zip(first, second, strict=True))
    places = {pair: i for i, pair in enumerate(dict.fromkeys(p for p in pairs if min(p) >= 0))}
    return [places.get(pair, -1) for pair in pairs]
