"""Who is awake, who sleeps, who is started and who is stopped: one pool at a time.

`plan` names the state each engine should reach and how many new ones to start. It is level-triggered: called
again with new facts it gives the rest of the way, and with unchanged facts the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ingle_core.warmpool import goback, kept
from ingle_core.warmpool.facts import SERVING_SOON, Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.kept import Kept
from ingle_core.warmpool.past import NOTHING_YET, Past
from ingle_core.warmpool.rollout import Rollout

RETRY_FIRST_S = 2.0
RETRY_MAX_S = 300.0
CHANGED = "the pool has changed"

Goals = dict[str, tuple[State, str]]


@dataclass(frozen=True)
class Plan:
    """`goals`: engine uid to the state it should reach (Awake, Asleep or Ended), with the reason beside it.

    `past`: for the next plan. `goes_back`: old engines stay, since new ones fail; `start_back`: so many of the revision
    before to start. `start_spare`: so many of `start` need no model yet, since nobody wants them awake. `again_in_s`: until
    keep-alive wants something anew, whatever the load; inf: never.
    """

    wanted_awake: int
    start: int = 0
    start_reason: str = ""
    retry_in_s: float = 0.0
    goals: Goals = field(default_factory=dict)
    past: Past = NOTHING_YET
    goes_back: bool = False
    start_back: int = 0
    again_in_s: float = math.inf
    start_spare: int = 0


def wanted_awake(wish: PoolWish, load: int) -> int:
    """`desired` or else ceil(load / concurrency), at least `ahead`, within [min, max]; `fixed` wins, within the bounds.

    Whatever `desired` says, load wants one.
    """
    by_load = (
        -(-load // max(1, wish.concurrency)) if wish.desired is None else max(wish.desired, min(1, load))
    )
    need = max(by_load, wish.ahead) if wish.fixed is None else wish.fixed
    return max(wish.min_awake, min(wish.max_awake, need))


def retry_delay_s(count: int) -> float:
    """Pause after the n-th failure in a row: 2 s doubled each time, at most 5 minutes; none before the first."""
    return 0.0 if count <= 0 else float(min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(count - 1, 16)))


def plan(
    wish: PoolWish,
    engines: Sequence[Engine],
    demand: Demand,
    failures: Failures,
    now_s: float,
    keeps: Sequence[Kept] = (),
    past: Past = NOTHING_YET,
    back: Failures | None = None,
) -> Plan:
    """The next goals of one pool.

    Up at once: sleepers are woken first (most recently used first), then new ones are started. Down slowly: an
    engine sleeps only when the most load of the last `idle_s` did not need it, keep-alive (`keeps[n]`: of the n-th
    replica) does not hold it or it makes room beside it (`wakeslot.py`), and `past` allows it. Sleepers beyond the
    number to keep stop after the same time. One that does not answer is replaced and left to its liveness probe. A failed
    pool starts again after `retry_delay_s`. Where a sleeper cannot be woken another is started; one that has to move is
    replaced first and then stopped, one at a time. Engines of an earlier revision: `rollout.py`; `goback.py` where one can
    be made anew, and `back` is how it failed.
    """
    failures = failures.of(wish)
    wish = _with_prewarm(wish, keeps, now_s)
    load = demand.waiting + demand.in_flight
    want = wanted_awake(wish, load)
    lately = replace(wish, desired=wish.desired_lately)
    stay = max(want, wanted_awake(lately, max(load, demand.peak)), _held(wish, keeps, now_s))
    keep = min(max(wish.max_awake, wish.asleep), max(want, wish.min_awake + wish.asleep))
    live = [e for e in engines if e.state not in (State.STOPPING, State.ENDED)]
    rollout = Rollout(wish, live, want, stay, keep, failures, back is not None)
    goals: Goals = {e.uid: (State.ENDED, CHANGED) for e in rollout.ends()}
    way = (
        rollout.makes_way(past, any(e.state is State.STOPPING for e in engines), now_s) if not goals else None
    )
    if way is not None:
        goals[way.uid] = (State.ENDED, f"{CHANGED}, and there is no room for a new engine beside it")
    live = [e for e in live if e.uid not in goals]

    roomy = [e for e in live if wish.current(e) and not rollout.is_short(e, now_s)]
    surge = roomy if way is None and rollout.surges() else None
    missing, woken = _wake(wish, live, demand, want, surge, goals)
    _leave_spare(wish, live, want, goals)
    lowered = past.may_lower(wish.dwell_s, now_s) and _let_idle_sleep(wish, live, want, stay, now_s, goals)
    proven = [e for e in live if e not in rollout.coming] if rollout.olds else live
    _stop_surplus(wish, proven, want, stay, now_s, goals)
    lack, reason = _lack(wish, live, rollout, missing - woken, keep, goals)
    wait_s = _wait_s(failures, now_s) if lack > 0 else 0.0
    lost = goback.missing(wish, live, want, keep) if back is not None and rollout.goes_back else 0
    back_wait_s = _wait_s(back, now_s) if back is not None and lost else 0.0
    start, start_back = 0 if wait_s else max(0, lack), 0 if back_wait_s else lost
    if wait_s:
        reason = "waits after a failure"
    raised = woken > 0 or (missing > woken and start + start_back > 0)
    return Plan(
        want,
        start,
        reason if lack > 0 else "",
        min((wait for wait in (wait_s, back_wait_s) if wait), default=0.0),
        goals,
        past.after(raised=raised, lowered=lowered, made_way=way is not None, now_s=now_s),
        rollout.goes_back,
        start_back,
        kept.again_in_s(keeps, now_s),
        min(start, max(0, lack - max(0, missing - woken))) if _may_be_spare(wish, live) else 0,
    )


def _wait_s(failures: Failures, now_s: float) -> float:
    """What is left of the pause after the last failure, 0: none."""
    return max(0.0, failures.at_s + retry_delay_s(failures.count) - now_s) if failures.count else 0.0


def _with_prewarm(wish: PoolWish, keeps: Sequence[Kept], now_s: float) -> PoolWish:
    more = kept.ahead(keeps, now_s)
    return (
        replace(wish, ahead=more.replicas, ahead_reason=more.reason) if more.replicas > wish.ahead else wish
    )


def _held(wish: PoolWish, keeps: Sequence[Kept], now_s: float) -> int:
    """Replicas that keep-alive holds; a fixed count is exact."""
    return 0 if wish.fixed is not None else min(wish.max_awake, kept.held(keeps, now_s))


def _wake(
    wish: PoolWish,
    live: Sequence[Engine],
    demand: Demand,
    want: int,
    surge: Sequence[Engine] | None,
    goals: Goals,
) -> tuple[int, int]:
    """Wakes sleepers; (how many more are wanted awake, how many of them wake). Those of now come before old ones.

    `surge`: who may take the place of an old engine, None: nobody has to.
    """
    serving = [e for e in live if e.state in SERVING_SOON and e.answers]
    sleepers = sorted(
        (e for e in live if e.state in (State.ASLEEP, State.SLEEPING) and e.wakeable),
        key=lambda e: (not wish.current(e), e.state == State.SLEEPING, -e.busy_at_s, e.uid),
    )
    # pods without a node may wait for long: a sleeper is woken all the same
    missing = max(0, want - sum(e.state is not State.PENDING for e in serving))
    reason = "requests wait" if demand.waiting else wish.ahead_reason or "fewer awake than wanted"
    if not missing and surge is not None:
        missing, reason, sleepers = 1, CHANGED, [e for e in sleepers if e in surge]
    woken = sleepers[:missing]
    for engine in woken:
        goals[engine.uid] = (State.AWAKE, reason)
    return missing, len(woken)


def _may_be_spare(wish: PoolWish, live: Sequence[Engine]) -> bool:
    return wish.spare and all(wish.current(e) for e in live)


def _leave_spare(wish: PoolWish, live: Sequence[Engine], want: int, goals: Goals) -> None:
    """Those that start beyond the number wanted awake, the youngest first, get no model yet.

    Not beside engines of an earlier revision: a new one has to show that it can serve before it takes their place.
    """
    if not _may_be_spare(wish, live):
        return
    woken = sum(goal is State.AWAKE for goal, _ in goals.values())
    serving = woken + sum(e.state in (State.AWAKE, State.WAKING) and e.answers for e in live)
    starting = sorted((e for e in live if e.state is State.STARTING), key=lambda e: (e.since_s, e.uid))
    for engine in starting[max(0, want - serving) :]:
        goals[engine.uid] = (State.ASLEEP, "nobody asks for it yet")


def _lack(
    wish: PoolWish, live: Sequence[Engine], rollout: Rollout, missing: int, keep: int, goals: Goals
) -> tuple[int, str]:
    """How many to start, and why. Beside old engines one at a time, but for those that load needs now.

    One at a time where the old ones stay since new ones fail.
    """
    pending = sum(e.state is State.PENDING and e.answers for e in live)
    current = sum(wish.current(e) and e.answers for e in live)
    for_load, for_keep, reason = missing - pending, keep - current, "no engine to wake"
    if rollout.olds:
        for_keep = min(for_keep, 0 if rollout.coming else 1)
    if for_load <= 0 < for_keep and rollout.olds:
        reason = CHANGED
    lack = max(for_load, for_keep)
    if rollout.goes_back:
        lack = min(lack, 0 if rollout.coming else 1)
    if lack <= 0 and _move_off(wish, live, keep, goals):
        return 1, "a sleeper has to move"
    return lack, reason


def _move_off(wish: PoolWish, live: Sequence[Engine], keep: int, goals: Goals) -> bool:
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


def _let_idle_sleep(
    wish: PoolWish, live: Sequence[Engine], want: int, stay: int, now_s: float, goals: Goals
) -> bool:
    """The least busy first, never below `stay`; one that has just become awake stays for `idle_s`. Whether any does.

    One that makes room beside it stays for a dwell, and never below `want`.
    """
    awake = sorted(
        (e for e in live if e.state is State.AWAKE and e.answers),
        key=lambda e: (e.in_flight, wish.current(e), e.busy_at_s, e.uid),
    )
    spare = max(0, len(awake) - stay)  # one that is still starting cannot take the place of one of them
    leave = awake[:spare]
    going = [e for e in leave if now_s - e.since_s >= wish.idle_s]
    goal = State.ASLEEP if wish.asleep else State.ENDED
    goals |= {e.uid: (goal, f"idle for {wish.idle_s:g} s") for e in going}
    rested = [e for e in awake if now_s - e.since_s >= wish.dwell_s and not e.in_flight and e not in going]
    makers = [e for e in rested if e.makes_room and wish.asleep]  # without sleepers it would end
    for engine in makers[: max(0, len(awake) - len(going) - want)]:
        goals[engine.uid] = (State.ASLEEP, engine.makes_room)
        going.append(engine)
    return bool(going)


def _stop_surplus(
    wish: PoolWish, live: Sequence[Engine], want: int, stay: int, now_s: float, goals: Goals
) -> None:
    """Sleepers that neither floor nor keep-alive asks for, the least recently used first; at once where they crowd.

    While engines of an earlier revision live, only those: the new ones are to take their place.
    """
    floor = max(want, wish.min_awake + wish.asleep)
    new = [e for e in live if wish.current(e)] if not all(wish.current(e) for e in live) else []
    old = sorted(
        (e for e in live if e.state is State.ASLEEP and e.uid not in goals and (e.surplus or e not in new)),
        key=lambda e: (not e.surplus, not e.leaving, e.busy_at_s, e.uid),
    )
    ended = 0
    for engine in old:
        left = len(live) - ended
        idle = now_s - max(engine.busy_at_s, engine.since_s) >= wish.idle_s
        if engine.surplus and left > floor:
            goals[engine.uid] = (State.ENDED, engine.surplus)
        elif idle and left > max(floor, stay):
            goals[engine.uid] = (State.ENDED, f"more sleepers than {wish.asleep} to keep")
        else:
            continue
        ended += 1
