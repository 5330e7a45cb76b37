"""What only this process knows. All of it can be lost: it is learnt again or starts from a safe value."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from ingle_core.placement.requeue import Told
from ingle_core.power.trail import Trail
from ingle_core.warmpool.demandprofile import DemandProfile
from ingle_core.warmpool.facts import Failures, State
from ingle_core.warmpool.past import Past
from ingle_core.warmpool.peaks import Peaks
from ingle_core.warmpool.prefetch import Job, Why
from ingle_core.warmpool.probing import Probes
from ingle_core.warmpool.userate import UseRate
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.giveway import GivesWay, Reservation
from ingle_operator.meter import Meter


@dataclass
class Notes:
    """Keys are pod UIDs unless said otherwise.

    `specs`: the last valid spec, by pool; `specs_before`: the one before, that its status keeps (`lastgood.py`), with the
    text and the spec it was read from; `back_failures`: of its engines, by pool; `recalled`: pools whose status was
    read for failures that an earlier leader saw. `counted`: the engine's failure is counted. `wake_calls`: a wake call was
    sent since it entered Waking, and whether it was answered with success; `wake_refused`: with an error.
    `sleep_entered`, `wake_entered`: this process moved it to Sleeping or Waking; `sleep_sent`: and has told it to sleep
    since; `sleep_done`: with success. `quiet_at_s`: when a Sleeping engine was first seen drained. `resized`: Kubernetes
    was asked to reserve less host memory for it.
    `peaks`, `profiles`, `uses`, `failures`, `status_at_s`: by pool. `troubles`: by pod UID or pool. `trails`: by node, with its
    GPUNode's UID. `written`: UID of one of our objects to the resource version and status of our last status
    write. `told`: (UID, reason) to its last events (time, message). `gives_way`: by victim, `reserved`: by the engine
    that waits, both kept by reconcile.rooms; `short_since_s`: since when an engine waits for room; `room_again_s`: when
    room is looked for again for one that found none, and `idle_beside` who was idle on
    its GPUs then; `shunned_until_s`: until when no room is made for it on a node that
    kube-scheduler refused. `pasts`, `wanted_awake`: by pool, of its last plan. `surplus`: sleepers that crowd their node,
    and why; `surplus_times`: how often in a row that was found; `makes_room`: who
    sleeps ahead of need, and why. `cache_judged`: it has been told whether the engine found
    its weights and compile cache; `cache_misses`: by kind and reason, how many did not. `fetch_failures`: failures of a
    copy in a row, and until when it is not tried again; `fetch_waits`: by weights, of the last plan; `fetch_at_s`: when
    that was made.
    """

    goals: dict[str, tuple[State, str]] = field(default_factory=dict)
    specs: dict[str, InferencePoolSpec] = field(default_factory=dict)
    specs_before: dict[str, tuple[str, InferencePoolSpec, InferencePoolSpec | None]] = field(
        default_factory=dict
    )
    back_failures: dict[str, Failures] = field(default_factory=dict)
    recalled: set[str] = field(default_factory=set)
    probed: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    busy_at_s: dict[str, float] = field(default_factory=dict)
    wake_calls: dict[str, bool] = field(default_factory=dict)
    sleep_entered: set[str] = field(default_factory=set)
    sleep_sent: set[str] = field(default_factory=set)
    sleep_done: set[str] = field(default_factory=set)
    resized: set[str] = field(default_factory=set)
    wake_entered: set[str] = field(default_factory=set)
    wake_refused: set[str] = field(default_factory=set)
    probes: Probes = field(default_factory=Probes)
    quiet_at_s: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, Peaks] = field(default_factory=dict)
    profiles: dict[str, DemandProfile] = field(default_factory=dict)
    uses: dict[str, UseRate] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    wake_ms: dict[str, int] = field(default_factory=dict)
    start_ms: dict[str, int] = field(default_factory=dict)
    sleep_ms: dict[str, int] = field(default_factory=dict)
    wanted_w: dict[str, tuple[str, int]] = field(default_factory=dict)
    trails: dict[str, tuple[str, Trail]] = field(default_factory=dict)
    requeued: dict[str, Told] = field(default_factory=dict)
    status_at_s: dict[str, float] = field(default_factory=dict)
    written: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    told: dict[tuple[str, str], deque[tuple[float, str]]] = field(default_factory=dict)
    gives_way: dict[str, GivesWay] = field(default_factory=dict)
    reserved: dict[str, Reservation] = field(default_factory=dict)
    short_since_s: dict[str, float] = field(default_factory=dict)
    room_again_s: dict[str, float] = field(default_factory=dict)
    idle_beside: dict[str, frozenset[str]] = field(default_factory=dict)
    shunned_until_s: dict[str, dict[str, float]] = field(default_factory=dict)
    pasts: dict[str, Past] = field(default_factory=dict)
    wanted_awake: dict[str, int] = field(default_factory=dict)
    surplus: dict[str, str] = field(default_factory=dict)
    surplus_times: dict[str, int] = field(default_factory=dict)
    makes_room: dict[str, str] = field(default_factory=dict)
    wake_count: int = 0
    ledger_conflicts: int = 0
    cache_judged: set[str] = field(default_factory=set)
    cache_misses: Counter[tuple[str, str]] = field(default_factory=Counter)
    fetch_failures: dict[Job, tuple[int, float]] = field(default_factory=dict)
    fetch_waits: dict[str, Why] = field(default_factory=dict)
    fetch_at_s: float = float("-inf")
    meter: Meter = field(default_factory=Meter)

    def forget(self, uid: str) -> None:
        """An engine is gone."""
        for known in (
            self.probed,
            self.counted,
            self.sleep_entered,
            self.sleep_sent,
            self.sleep_done,
            self.wake_entered,
            self.wake_refused,
            self.cache_judged,
            self.resized,
        ):
            known.discard(uid)
        self.probes.forget(uid)
        for notes in (
            self.goals,
            self.busy_at_s,
            self.wake_calls,
            self.quiet_at_s,
            self.troubles,
            self.wake_ms,
            self.start_ms,
            self.sleep_ms,
            self.wanted_w,
            self.requeued,
            self.gives_way,
            self.reserved,
            self.short_since_s,
            self.room_again_s,
            self.idle_beside,
            self.shunned_until_s,
            self.surplus,
            self.makes_room,
        ):
            notes.pop(uid, None)
        self.meter.forget(uid)

    def forget_pool(self, pool: str) -> None:
        """A pool is gone."""
        for notes in (
            self.specs,
            self.specs_before,
            self.back_failures,
            self.peaks,
            self.uses,
            self.profiles,
            self.failures,
            self.troubles,
            self.status_at_s,
            self.pasts,
            self.wanted_awake,
        ):
            notes.pop(pool, None)
        self.recalled.discard(pool)
        self.meter.forget_pool(pool)

    def goal(self, uid: str, planned: tuple[State, str] | None, now_s: float) -> tuple[State, str] | None:
        """What the pool planned for an engine, or for a while what another one needs of it."""
        way = self.gives_way.get(uid)
        return (way.goal, way.text) if way is not None and way.holds(now_s) else planned

    def entered(self, uid: str, state: State) -> None:
        """This process has just moved an engine to `state` in the ledger."""
        self.wake_calls.pop(uid, None)
        self.quiet_at_s.pop(uid, None)
        for known in (
            self.sleep_sent,
            self.sleep_done,
            self.sleep_entered,
            self.wake_entered,
            self.wake_refused,
        ):
            known.discard(uid)
        if state is State.SLEEPING:
            self.sleep_entered.add(uid)
        elif state is State.WAKING:
            self.wake_entered.add(uid)
        elif state is State.STARTING:
            self.probed.discard(uid)
            self.probes.restart(uid)

    def may_have_slept(self, uid: str) -> bool:
        """Whether somebody may have called its /sleep since it entered Sleeping: an earlier leader, or we."""
        return uid in self.sleep_sent or uid not in self.sleep_entered
