"""Who is awake, who sleeps, who is started and who is stopped: one pool at a time.

`plan` names the state each engine should reach and how many new ones to start. It is level-triggered: called
again with new facts it gives the rest of the way, and with unchanged facts the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingle_core.warmpool.facts import SERVING_SOON, Demand, Engine, Failures, PoolWish, State

RETRY_FIRST_S = 2.0
RETRY_MAX_S = 300.0


@dataclass(frozen=True)
class Plan:
    """`goals`: engine uid to the state it should reach (Awake, Asleep or Ended), with the reason beside it."""

    wanted_awake: int
    start: int = 0
    start_reason: str = ""
    retry_in_s: float = 0.0
    goals: dict[str, tuple[State, str]] = field(default_factory=dict)


def wanted_awake(wish: PoolWish, load: int) -> int:
    """ceil(load / concurrency), within [min, max]; `fixed` wins, within the same bounds."""
    need = -(-load // max(1, wish.concurrency)) if wish.fixed is None else wish.fixed
    return max(wish.min_awake, min(wish.max_awake, need))


def retry_delay_s(count: int) -> float:
    """Pause after the n-th failure in a row: 2 s doubled each time, at most 5 minutes; none before the first."""
    return 0.0 if count <= 0 else float(min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(count - 1, 16)))


def plan(wish: PoolWish, engines: Sequence[Engine], demand: Demand, failures: Failures, now_s: float) -> Plan:
    """The next goals of one pool.

    Up at once: sleepers are woken first (most recently used first), then new ones are started. Down slowly: an
    engine sleeps only when the most load of the last `idle_s` did not need it. Sleepers beyond the number to keep
    stop after the same time. One that does not answer is replaced and left to its liveness probe. A failed pool
    starts again after `retry_delay_s`. Where a sleeper cannot be woken another is started; one that has to move is
    replaced first and then stopped, one at a time.
    """
    goals: dict[str, tuple[State, str]] = {}
    live = [e for e in engines if e.state not in (State.STOPPING, State.ENDED)]
    live = [e for e in live if not _outdated(wish, e, live, goals)]
    load = demand.waiting + demand.in_flight
    want = wanted_awake(wish, load)
    serving = [e for e in live if e.state in SERVING_SOON and e.answers]
    sleepers = sorted(
        (e for e in live if e.state in (State.ASLEEP, State.SLEEPING)),
        key=lambda e: (e.state == State.SLEEPING, -e.busy_at_s, e.uid),
    )
    pending = sum(
        e.state is State.PENDING for e in serving
    )  # they may wait for long: a sleeper is woken all the same
    missing = max(0, want - len(serving) + pending)
    woken = [e for e in sleepers if e.wakeable][:missing]
    for engine in woken:
        goals[engine.uid] = (State.AWAKE, "requests wait" if demand.waiting else "fewer awake than wanted")
    _let_idle_sleep(wish, serving, wanted_awake(wish, max(load, demand.peak)), now_s, goals)
    others = [e for e in sleepers if e.uid not in goals]
    _stop_surplus(wish, others, want, len(live), now_s, goals)
    keep = min(max(wish.max_awake, wish.asleep), max(want, wish.min_awake + wish.asleep))
    current = sum(wish.current(e) and e.answers for e in live)
    lack, reason = max(missing - len(woken) - pending, keep - current), "no engine to wake"
    if lack <= 0 and _move_off(wish, live, keep, goals):
        lack, reason = 1, "a sleeper has to move"
    wait_s = failures.at_s + retry_delay_s(failures.count) - now_s
    if lack > 0 and failures.count and wait_s > 0:
        return Plan(want, 0, "waits after a failure", wait_s, goals)
    return Plan(want, max(0, lack), reason if lack > 0 else "", 0.0, goals)


def _move_off(wish: PoolWish, live: Sequence[Engine], keep: int, goals: dict[str, tuple[State, str]]) -> bool:
    """Stops sleepers that have to move as far as others take their place; whether one has to be started for that."""
    moving = sorted(
        (e for e in live if e.leaving and e.state is State.ASLEEP and e.uid not in goals),
        key=lambda e: (e.busy_at_s, e.uid),
    )
    if not moving:
        return False
    staying = [e for e in live if wish.current(e) and e.answers and e not in moving and e.uid not in goals]
    started = [e for e in staying if e.state not in (State.PENDING, State.STARTING)]
    for engine in moving[: max(0, len(started) + len(moving) - keep)]:
        goals[engine.uid] = (State.ENDED, "its node drains, or its GPU is not ours any more")
    return len(staying) < keep and len(started) == len(staying)


def _outdated(
    wish: PoolWish, engine: Engine, live: Sequence[Engine], goals: dict[str, tuple[State, str]]
) -> bool:
    """Whether the pool has changed since this engine was made and it can go: sleepers at once, others when replaced."""
    if wish.current(engine):
        return False
    replaced = any(wish.current(e) and e.state is State.AWAKE for e in live)
    if engine.state is State.AWAKE and engine.in_flight and not replaced:
        return False
    goals[engine.uid] = (State.ENDED, "the pool has changed")
    return True


def _let_idle_sleep(
    wish: PoolWish, serving: Sequence[Engine], want: int, now_s: float, goals: dict[str, tuple[State, str]]
) -> None:
    """The least busy first, never below `want`; one that has just become awake stays for `idle_s`."""
    awake = sorted(
        (e for e in serving if e.state is State.AWAKE), key=lambda e: (e.in_flight, e.busy_at_s, e.uid)
    )
    for engine in awake[: max(0, len(awake) - want)]:  # one that is still starting cannot take its place
        if now_s - engine.since_s >= wish.idle_s:
            goal = State.ASLEEP if wish.asleep else State.ENDED
            goals[engine.uid] = (goal, f"idle for {wish.idle_s:g} s")


def _stop_surplus(
    wish: PoolWish,
    sleepers: Sequence[Engine],
    want: int,
    live_count: int,
    now_s: float,
    goals: dict[str, tuple[State, str]],
) -> None:
    """Sleepers that nobody asked to keep, the least recently used first."""
    surplus = live_count - max(want, wish.min_awake + wish.asleep)
    old = sorted(
        (e for e in sleepers if e.state == State.ASLEEP), key=lambda e: (not e.leaving, e.busy_at_s, e.uid)
    )
    for engine in old[: max(0, surplus)]:
        if now_s - max(engine.busy_at_s, engine.since_s) >= wish.idle_s:
            goals[engine.uid] = (State.ENDED, f"more sleepers than {wish.asleep} to keep")
