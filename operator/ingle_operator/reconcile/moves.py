"""One engine's change of state in the ledger: written before anything is done, refused where it does not fit."""

from __future__ import annotations

import time
from typing import cast

from ingle_core.ledger import TRANSITIONS, Ledger, LedgerError, Op, fits, move
from ingle_core.ledger import State as LedgerState
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import EngineFacts, charge_mib
from ingle_kit.kube import Conflict
from ingle_kit.ledger import Refused
from ingle_kit.names import INFERENCE_POOL, POD
from ingle_kit.objects import timestamp
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.reconcile.drained import blocks_wake
from ingle_operator.status import reason_of, tell
from ingle_operator.world import ALL, World

LOOK_AGAIN_S = 0.5
CONFLICTED_AGAIN_S = 0.05
REFUSED_AGAIN_S = 2.0
BLOCKED_REASONS = frozenset(
    {
        Reason.NODE_CORDONED.value,
        Reason.NODE_NOT_READY.value,
        Reason.AGENT_SILENT.value,
        Reason.GPU_NOT_HELD.value,
    }
)
ROOM_REASONS = frozenset({Reason.INSUFFICIENT_MEMORY.value, Reason.INSUFFICIENT_WATTS.value})


async def move_engine(
    world: World, pool: Pool, pod: EnginePod, facts: EngineFacts, to: State
) -> float | None:
    """None: it is in the ledger; else the pause after which to look again."""
    need = pod.need
    memory_mib = charge_mib(to, need.awake_mib, need.asleep_mib, facts.measured_mib)
    watts = 0 if to is State.ASLEEP else need.busy_w

    blocked = blocks_wake(world, pod) if to is State.WAKING and facts.asleep is not False else None
    if blocked is not None:
        return await _blocked(world, pool, pod, *blocked)

    def change(ledger: Ledger) -> list[Op]:
        if ledger.holder(pod.uid) is None:
            return []
        if to in (State.WAKING, State.SLEEPING) and _busy(ledger, pod):
            raise LedgerError("TransitionBusy", "another engine on its GPU is in transition")
        return move(
            ledger,
            pod.uid,
            cast(LedgerState, to.value),
            memory_mib=memory_mib,
            watts=watts,
            host_mib=0 if need.lowered else None,
            epoch=world.leader.epoch,
            at=timestamp(time.time()),
        )

    refused = await world.write_ledger(pod.node, change)
    if refused is not None:
        return await _refused(world, pool, pod, facts, refused)
    world.notes.entered(pod.uid, to)
    world.notes.troubles.pop(pod.uid, None)
    world.notes.wanted_w.pop(pod.uid, None)
    world.add("pool", pool.name)
    if to is State.ASLEEP and facts.state is not to:
        goal, why = world.notes.goals.get(pod.uid, (None, ""))
        text = f"engine {pod.key[1]} sleeps{f': {why}' if goal is State.ASLEEP and why else ''}"
        await tell(world, INFERENCE_POOL, pool, Reason.PUT_TO_SLEEP, text)
    return None


def clear_past_trouble(world: World, pool: Pool, pod: EnginePod) -> None:
    """Takes back a refusal once the wake would fit: routers send nobody while it stands, so nobody would ask again."""
    trouble = world.notes.troubles.get(pod.uid)
    ledger = world.ledger(pod.node) if pod.node else None
    if trouble is None or ledger is None or ledger.holder(pod.uid) is None:
        return
    ops = move(ledger, pod.uid, "Waking", memory_mib=pod.need.awake_mib, watts=pod.need.busy_w)
    if trouble[0] in BLOCKED_REASONS or fits(ledger, ops) is None:
        world.notes.troubles.pop(pod.uid, None)
        world.notes.wanted_w.pop(pod.uid, None)
        world.add("status", pool.name)


def _busy(ledger: Ledger, pod: EnginePod) -> bool:
    """Whether another pod on one of its GPUs is in transition: one at a time."""
    moving = {holder.uid for holder in ledger.pods if holder.state in TRANSITIONS} - {pod.uid}
    return any(c.pod_uid in moving for gpu in ledger.gpus if gpu.uuid in pod.gpus for c in gpu.claims)


async def _refused(
    world: World, pool: Pool, pod: EnginePod, facts: EngineFacts, refused: Refused
) -> float | None:
    """What the ledger refuses becomes the reason on the pool."""
    if refused.reason in ("Conflicted", "NoGPUNode"):
        return CONFLICTED_AGAIN_S if refused.reason == "Conflicted" else REFUSED_AGAIN_S
    message = f"{pod.key[1]} on {pod.node}: {refused.message}"
    world.notes.troubles[pod.uid] = (reason_of(refused.reason).value, message)
    world.add("status", pool.name)
    if refused.reason == "TransitionBusy":
        return LOOK_AGAIN_S
    if facts.state is State.ASLEEP and facts.asleep is False:
        return await _evict(world, pool, pod)
    if refused.reason == "InsufficientWatts":
        world.notes.wanted_w[pod.uid] = (pod.node, pod.need.busy_w * len(pod.gpus))
        world.touch_budgets()
    if facts.state is State.ASLEEP and refused.reason in ROOM_REASONS:
        world.add("room", ALL)
    await tell(world, INFERENCE_POOL, pool, reason_of(refused.reason), message, warn=True)
    return REFUSED_AGAIN_S


async def _blocked(world: World, pool: Pool, pod: EnginePod, reason: Reason, why: str) -> float:
    """Its node takes no wakes now; the pool starts another engine where that lasts."""
    message = f"{pod.key[1]} on {pod.node}: {why}"
    if world.notes.troubles.get(pod.uid) != (reason.value, message):
        world.notes.troubles[pod.uid] = (reason.value, message)
        world.add("status", pool.name)
        world.add("pool", pool.name)
    await tell(world, INFERENCE_POOL, pool, reason, message, warn=True)
    return LOOK_AGAIN_S


async def _evict(world: World, pool: Pool, pod: EnginePod) -> float | None:
    """A sleeper that somebody else woke holds memory that is not its own: it goes."""
    message = f"engine {pod.key[1]} was found awake where it has no room"
    await tell(world, INFERENCE_POOL, pool, Reason.ENGINE_LOST, message, warn=True)
    try:
        await world.kube.delete(POD, pod.key[1], pod.key[0], uid=pod.uid)
    except Conflict:
        return None
    return LOOK_AGAIN_S
