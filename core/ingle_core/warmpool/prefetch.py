"""Which weights are copied to which node's disk now: few at a time, never beside an engine that loads.

Level-triggered: from what disks hold and which copiers run, to what to start and what to stop. A copier that is stopped
goes on later where it was, so stopping is cheap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Why(StrEnum):
    """A reason to start, to stop or to wait."""

    WANTED = "Wanted"
    GOES_ON = "GoesOn"  # a part of the copy is there

    WHOLE = "Whole"
    NOT_WANTED = "NotWanted"
    NODE_UNFIT = "NodeUnfit"
    ENGINE_LOADS = "EngineLoads"
    TOO_MANY = "TooMany"

    FAILED_LATELY = "FailedLately"
    NO_ROOM = "NoRoom"
    NO_NODE = "NoNode"


class Job(NamedTuple):
    """One copy: name of the weights, node."""

    weights: str
    node: str


@dataclass(frozen=True)
class NodeDisk:
    """One node's disk: names of whole and partial copies, MiB that are free.

    `loads`: an engine starts there now and needs the network. `fit`: the node is heard, ready and not cordoned.
    """

    free_mib: int
    whole: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()
    loads: bool = False
    fit: bool = True


@dataclass(frozen=True)
class Want:
    """Weights of one pool: MiB, how many nodes should have them, and nodes where its engines may start, likeliest first.

    `worth`: who comes first; more is sooner.
    """

    weights: str
    size_mib: int
    nodes: Sequence[str]
    copies: int = 1
    worth: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Copiers on one node and in all; MiB of each disk that stay free."""

    per_node: int = 1
    total: int = 4
    reserve_mib: int = 0


@dataclass(frozen=True)
class FetchPlan:
    """What to start and stop, each with its reason; `waits`: why wanted weights are not copied to a node now."""

    start: Mapping[Job, Why] = field(default_factory=dict)
    stop: Mapping[Job, Why] = field(default_factory=dict)
    waits: Mapping[str, Why] = field(default_factory=dict)


def plan_fetches(
    wants: Sequence[Want],
    disks: Mapping[str, NodeDisk],
    running: Collection[Job],
    failed: Collection[Job],
    limits: Limits,
) -> FetchPlan:
    """`running`: copiers that exist, whatever they do; `failed`: copies that are not tried again yet.

    First those with the fewest copies, then by worth. Deterministic: same input, same plan.
    """
    merged = _merged(wants)
    stop = _stopped(merged, disks, running, limits)
    kept = [job for job in sorted(running) if job not in stop]
    room = {node: disk.free_mib - limits.reserve_mib for node, disk in disks.items()}
    for job in kept:
        if (
            job.weights not in disks[job.node].partial
        ):  # what a part still needs is not known: its copier looks
            room[job.node] -= merged[job.weights].size_mib
    busy = [job.node for job in running]  # a stopped one is there until its pod is gone
    start: dict[Job, Why] = {}
    waits: dict[str, Why] = {}
    for want in sorted(merged.values(), key=lambda w: (_have(w, disks, kept), -w.worth, w.weights)):
        for _ in range(want.copies - _have(want, disks, kept)):
            found = _place(want, disks, [*kept, *start], failed, busy, room, limits)
            if isinstance(found, Why):
                waits[want.weights] = found
                break
            partial = want.weights in disks[found].partial
            start[Job(want.weights, found)] = Why.GOES_ON if partial else Why.WANTED
            busy.append(found)
            room[found] -= 0 if partial else want.size_mib
    return FetchPlan(start, stop, waits)


def _merged(wants: Sequence[Want]) -> dict[str, Want]:
    """By weights; of two pools that share them the one that wants more copies, then the one of more worth."""
    found: dict[str, Want] = {}
    for want in sorted(wants, key=lambda w: (w.copies, w.worth)):
        found[want.weights] = want
    return found


def _have(want: Want, disks: Mapping[str, NodeDisk], jobs: Collection[Job]) -> int:
    """Copies that are whole or being made, on nodes where they serve."""
    making = {job.node for job in jobs if job.weights == want.weights}
    return sum(n in making or (n in disks and want.weights in disks[n].whole) for n in want.nodes)


def _stopped(
    wants: Mapping[str, Want], disks: Mapping[str, NodeDisk], running: Collection[Job], limits: Limits
) -> dict[Job, Why]:
    found: dict[Job, Why] = {}
    for job in sorted(running):
        why = _no_more(job, wants.get(job.weights), disks)
        if why is not None:
            found[job] = why
    left = [job for job in sorted(running) if job not in found]
    kept: list[Job] = []
    for job in left:
        on_node = sum(one.node == job.node for one in kept)
        if len(kept) >= limits.total or on_node >= limits.per_node:
            found[job] = Why.TOO_MANY
        else:
            kept.append(job)
    return found


def _no_more(job: Job, want: Want | None, disks: Mapping[str, NodeDisk]) -> Why | None:
    disk = disks.get(job.node)
    if disk is None or not disk.fit:
        return Why.NODE_UNFIT
    if job.weights in disk.whole:
        return Why.WHOLE
    if want is None or job.node not in want.nodes:
        return Why.NOT_WANTED
    if _have(want, disks, ()) >= want.copies:
        return Why.NOT_WANTED
    return Why.ENGINE_LOADS if disk.loads else None


def _place(
    want: Want,
    disks: Mapping[str, NodeDisk],
    jobs: Collection[Job],
    failed: Collection[Job],
    busy: Sequence[str],
    room: Mapping[str, int],
    limits: Limits,
) -> str | Why:
    """The node for one more copy: one that has a part first, else the likeliest. Else the first reason found."""
    if len(busy) >= limits.total:
        return Why.TOO_MANY
    why: Why | None = None
    known = [node for node in want.nodes if node in disks]
    for node in sorted(known, key=lambda n: want.weights not in disks[n].partial):  # stable: likeliest first
        disk, job = disks[node], Job(want.weights, node)
        if job in jobs or want.weights in disk.whole:
            continue
        refused = _refused(want, job, disk, failed, busy.count(node), room[node], limits)
        if refused is None:
            return node
        why = why or refused
    return why or Why.NO_NODE


def _refused(
    want: Want,
    job: Job,
    disk: NodeDisk,
    failed: Collection[Job],
    copiers: int,
    room_mib: int,
    limits: Limits,
) -> Why | None:
    needs_mib = 0 if want.weights in disk.partial else want.size_mib
    if not disk.fit:
        return Why.NODE_UNFIT
    if disk.loads:
        return Why.ENGINE_LOADS
    if job in failed:
        return Why.FAILED_LATELY
    if copiers >= limits.per_node:
        return Why.TOO_MANY
    return Why.NO_ROOM if needs_mib > room_mib else None
