"""Room for engines that do not fit: who gives way, told to both, and kept for the one that waits.

All that wait are worked on together, the highest priority first, from the facts of this moment; nothing is remembered
but who gives way to whom, and for how long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from ingle_core.facts import Columns
from ingle_core.placement import Ask, Context, ask_from_annotation
from ingle_core.placement.room import Outcome, Room, Victim, Wake, make_room, make_room_for_wake
from ingle_core.placement.tenants import PRIORITY_RANK, Spare, Tenant
from ingle_core.warmpool.facts import State
from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.objects.reasons import Reason
from ingle_kit.whatif import Question, Tolerates
from ingle_operator import keepalives
from ingle_operator.beside import idle_from_s
from ingle_operator.giveway import GIVE_WAY_S, GivesWay, Reservation
from ingle_operator.lastgood import spec_of_engine
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.reconcile.drained import lacks_room, takes_wakes
from ingle_operator.reconcile.moves import ROOM_REASONS
from ingle_operator.reconcile.refused import give_back_refused, shunned
from ingle_operator.roomfacts import Loads, loads_of, replica_numbers, spare_of, tenants_of, wake_facts
from ingle_operator.status import tell
from ingle_operator.world import World

TICK_S = 0.5
NOTHING_AGAIN_S = 2.0
WATTS_GRACE_S = 2.0  # a budget may move watts to the node first
AT_ONCE_MAX = 8  # engines for whom room is worked out in one pass

_GOALS = {"Asleep": State.ASLEEP, "Dropped": State.ASLEEP, "Ended": State.ENDED}
_DOES = {"Asleep": "sleeps", "Dropped": "drops its weights", "Ended": "stops"}


@dataclass(frozen=True)
class Waiter:
    """An engine that was refused: a pod without a node (`wakes` False) or a sleeper that is wanted."""

    pod: EnginePod
    pool: Pool
    spec: InferencePoolSpec
    wakes: bool
    short_since_s: float

    @property
    def order(self) -> tuple[int, float, str]:
        return (-PRIORITY_RANK[self.spec.priority], self.short_since_s, self.pod.uid)


@dataclass(frozen=True)
class _Facts:
    columns: Columns
    tenants: Sequence[Tenant]
    spare: dict[str, Spare]
    context: Context
    loads: Loads


async def reconcile_rooms(world: World, name: str) -> float | None:
    """One pass over all engines that wait for room; again soon while there are any."""
    now_s = time.time()
    waiters = sorted(waiting(world, now_s), key=lambda w: w.order)
    _forget_others(world, {w.pod.uid for w in waiters}, now_s)
    loads = loads_of(world) if waiters else Loads({}, {}, {})
    due = [w for w in waiters if _due(world, w, loads, now_s)][:AT_ONCE_MAX]
    if due:
        tenants = tenants_of(world, loads, now_s)
        spare, context = spare_of(world, tenants, loads), world.pool_context.current(world, time.monotonic())
        facts = _Facts(world.columns.current(world), tenants, spare, context, loads)
        for waiter in due:
            await _work(world, waiter, facts, now_s)
    held_back = await give_back_refused(world, now_s)
    return _again_s(world, waiters, loads) if waiters or held_back else None


def _due(world: World, waiter: Waiter, loads: Loads, now_s: float) -> bool:
    """Whether to look for room again: after a while, or when one beside it is idle that was not the last time."""
    notes, uid = world.notes, waiter.pod.uid
    if notes.room_again_s.get(uid, 0.0) <= now_s:
        return True
    beside = idle_from_s(world, waiter.pod, loads)
    return any(at_s <= now_s for one, at_s in beside.items() if one not in notes.idle_beside.get(uid, ()))


def _again_s(world: World, waiters: Sequence[Waiter], loads: Loads) -> float:
    """A tick, or less where one beside those that found nothing is idle sooner."""
    now_s = time.time()
    short = [w.pod for w in waiters if w.pod.uid in world.notes.room_again_s]
    moments = (at_s - now_s for pod in short for at_s in idle_from_s(world, pod, loads).values())
    return min((moment for moment in moments if 0 < moment < TICK_S), default=TICK_S)


def waiting(world: World, now_s: float) -> list[Waiter]:
    """Who waits for room, by what kube-scheduler or the ledger said."""
    found = []
    for pod in world.pods.store.values():
        wakes = bool(pod.node)
        if pod.deleting or pod.ended or not (_wants_wake(world, pod) if wakes else lacks_room(pod.trouble)):
            continue
        pool = world.pools.store.get((pod.key[0], pod.pool.partition("/")[2]))
        spec = world.spec_of(pool) if pool is not None else None
        spec = spec_of_engine(world.notes, pool, spec, pod.revision) if pool is not None else None
        if pool is None or spec is None or (not wakes and _claimed(world, pod)):
            continue
        since_s = world.notes.short_since_s.setdefault(pod.uid, now_s)
        found.append(Waiter(pod, pool, spec, wakes, since_s))
    return found


def _wants_wake(world: World, pod: EnginePod) -> bool:
    trouble, goal = world.notes.troubles.get(pod.uid), world.notes.goals.get(pod.uid)
    if trouble is None or trouble[0] not in ROOM_REASONS or goal is None or goal[0] is not State.AWAKE:
        return False
    ledger = world.ledger(pod.node)
    holder = ledger.holder(pod.uid) if ledger is not None else None
    return holder is not None and holder.state == "Asleep" and takes_wakes(world, pod.node) is None


def _claimed(world: World, pod: EnginePod) -> bool:
    """Whether its room is reserved already, so that only its Binding is missing."""
    ledgers = (world.ledger(name) for _, name in world.gpu_nodes.store)
    return any(ledger is not None and ledger.holder(pod.uid) is not None for ledger in ledgers)


def _forget_others(world: World, waiters: set[str], now_s: float) -> None:
    """Who gave way to one that waits no more goes back to its pool's plan."""
    notes = world.notes
    for known in (notes.reserved, notes.short_since_s, notes.room_again_s, notes.idle_beside):
        for uid in known.keys() - waiters:
            known.pop(uid)
    for uid, way in list(notes.gives_way.items()):
        if (way.waiter not in waiters and way.holds(now_s)) or way.over(now_s):
            _free(world, uid)


def _free(world: World, uid: str) -> None:
    del world.notes.gives_way[uid]
    pod = next((p for p in world.pods.store.values() if p.uid == uid), None)
    if pod is not None:
        world.add("pool", pod.pool)


async def _work(world: World, waiter: Waiter, facts: _Facts, now_s: float) -> None:
    """Finds room for one and does what that takes now."""
    notes, uid = world.notes, waiter.pod.uid
    short_of_watts = waiter.wakes and notes.troubles[uid][0] == Reason.INSUFFICIENT_WATTS.value
    if short_of_watts and now_s - waiter.short_since_s < WATTS_GRACE_S:
        return
    room = await asyncio.to_thread(
        _question(world, waiter, facts)
    )  # on thousands of nodes that takes a while
    _keep(world, waiter, room, facts, now_s)
    had_room_made = uid in notes.reserved
    if room.outcome is Outcome.NOTHING:
        notes.reserved.pop(uid, None)
        notes.room_again_s[uid] = now_s + NOTHING_AGAIN_S
        beside = idle_from_s(world, waiter.pod, facts.loads)
        notes.idle_beside[uid] = frozenset(one for one, at_s in beside.items() if at_s <= now_s)
        return
    if room.outcome is Outcome.VICTIMS or waiter.wakes or had_room_made:
        notes.reserved[uid] = _reservation(waiter, room, facts)
    if room.outcome is Outcome.VICTIMS:
        for victim in room.victims:
            await _give_way(world, waiter, room, victim, facts, now_s)
    elif room.outcome is Outcome.FITS and uid in notes.reserved and room.node is not None:
        await world.write_ledger(room.node, lambda ledger: [])  # the reservation goes with it
        world.add("engine", "/".join(waiter.pod.key))


def _question(world: World, waiter: Waiter, facts: _Facts) -> Callable[[], Room]:
    """Where there is room beside what is kept for those that come first; reads the caches, answers without them."""
    mine = waiter.order
    assumed = [r.assumed for r in world.notes.reserved.values() if r.uid != waiter.pod.uid and r.order < mine]
    pod = waiter.pod
    if not waiter.wakes:
        ask = _ask(waiter)
        names = _offered(world, waiter, ask, facts.columns)
        return partial(
            make_room,
            ask,
            facts.columns,
            facts.tenants,
            facts.spare,
            now_s=0.0,
            node_names=names,
            assumed=assumed,
            context=facts.context,
        )
    ledger = world.ledger(pod.node)
    if ledger is None:
        return lambda: Room(Outcome.NOTHING)
    more_mib = pod.need.awake_mib - _charged_mib(facts, pod.uid)
    wake = Wake(waiter.pool.name, pod.node, pod.gpus, more_mib, pod.need.busy_w, waiter.spec.priority)
    here = [one for one in assumed if one.node == pod.node]
    return partial(make_room_for_wake, wake, wake_facts(ledger), facts.tenants, facts.spare, here)


def _ask(waiter: Waiter) -> Ask:
    """What the pod asks for, at the pool's priority of now."""
    ask = ask_from_annotation(waiter.pod.placement)
    return msgspec.structs.replace(ask, pool=waiter.pool.name, priority=waiter.spec.priority)


def _offered(world: World, waiter: Waiter, ask: Ask, columns: Columns) -> list[str]:
    """Nodes that kube-scheduler would offer by labels and taints, but for those that it refused of late."""
    tolerations = tuple(
        Tolerates(t.key or "", t.operator or "Equal", t.value or "", t.effect or "")
        for t in waiter.spec.template.tolerations
    )
    question = Question(ask, node_selector=dict(waiter.spec.placement.node_selector), tolerations=tolerations)
    nodes = ((name, world.nodes.store.get(("", name))) for name in columns.facts)
    offered = [n for n, node in nodes if node is not None and question.offers(node.labels, node.taints)]
    refused = shunned(world, waiter.pod.uid)
    return [name for name in offered if name not in refused]


def _charged_mib(facts: _Facts, uid: str) -> int:
    return next((t.memory_mib for t in facts.tenants if t.uid == uid), 0)


def _reservation(waiter: Waiter, room: Room, facts: _Facts) -> Reservation:
    pod, need = waiter.pod, waiter.pod.need
    assert room.node is not None
    charged_mib = _charged_mib(facts, pod.uid) if waiter.wakes else 0
    return Reservation(
        uid=pod.uid,
        pool=waiter.pool.name,
        node=room.node,
        gpus=room.gpus,
        state="Waking" if waiter.wakes else "Starting",
        memory_mib=need.awake_mib,
        more_mib=need.awake_mib - charged_mib,
        watts=need.busy_w,
        host_zone=room.host_zone,
        host_mib=need.host_mib if room.host_zone is not None else 0,
        order=waiter.order,
    )


def _keep(world: World, waiter: Waiter, room: Room, facts: _Facts, now_s: float) -> None:
    """Lets go of victims that are needed no more, but for those that have given way already or are about to."""
    chosen = {victim.uid for victim in room.victims}
    states = {t.uid: t.state for t in facts.tenants}
    for uid, way in list(world.notes.gives_way.items()):
        if way.waiter != waiter.pod.uid or uid in chosen or not way.holds(now_s):
            continue
        if room.outcome is Outcome.NOTHING or (states.get(uid) == "Awake" and not way.drops):
            _free(world, uid)


async def _give_way(
    world: World, waiter: Waiter, room: Room, victim: Victim, facts: _Facts, now_s: float
) -> None:
    """One goal that wins over the victim's own plan for a while, with an event on both pools."""
    before = world.notes.gives_way.get(victim.uid)
    goal, drops = _GOALS[victim.to], victim.to == "Dropped"
    same = before is not None and (before.goal, before.drops) == (goal, drops)
    if before is not None and (same or before.waiter != waiter.pod.uid):
        return  # asked already; one that gives way to another stays with that
    until_s = now_s + GIVE_WAY_S if before is None else before.until_s
    text = f"gives way to {waiter.pool.name}"
    if before is None:
        keepalives.evicted(
            world, victim.pool, replica_numbers(world, facts.tenants).get(victim.uid, 0), now_s
        )
    world.notes.gives_way[victim.uid] = GivesWay(goal, text, waiter.pod.uid, until_s, drops)
    namespace, _, name = victim.pool.partition("/")
    world.add("pool", victim.pool)
    does = _DOES[victim.to]
    short = next((p.key[1] for p in world.pods.store.values() if p.uid == victim.uid), victim.uid)
    made = f"for {waiter.pod.key[1]} on {room.node}: {short} of {victim.pool} {does} ({victim.reason})"
    await tell(world, INFERENCE_POOL, waiter.pool, Reason.MADE_ROOM, made)
    pool = world.pools.store.get((namespace, name))
    if pool is not None:
        gave = f"{short} {does} on {room.node} for {waiter.pool.name} ({victim.reason})"
        await tell(world, INFERENCE_POOL, pool, Reason.GAVE_WAY, gave)
