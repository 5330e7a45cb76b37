"""The status of a pool: counts, engines, conditions with documented reasons."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from ingle_core.warmpool.facts import Demand, Engine, Failures, State
from ingle_core.warmpool.plan import Plan
from ingle_core.warmpool.rollout import BACK_AFTER, UP
from ingle_core.warmpool.tiers import Level, level_of, tier_of
from ingle_kit.names import LABEL_POOL
from ingle_kit.objects import InferencePoolSpec, Variant, timestamp
from ingle_kit.objects.reasons import Reason
from ingle_operator import loads
from ingle_operator.lastgood import to_keep
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.render import revision_of
from ingle_operator.scaling import two_scalers
from ingle_operator.status import FAILED_IN_A_ROW, LAST_FAILURE, conditions_of
from ingle_operator.world import World

NO_SPARES: Final = (
    "warm.level Spare needs INGLE_SPARE_IMAGE of the operator: set it, or warm.level to L1 or L2"
)
_STATE_NAMES = {State.ENDED: "Failed"}

Verdict = tuple[bool | None, Reason, str]


@dataclass(frozen=True)
class View:
    """One pool at one moment: what the plan and the status are made from. `before`: as it was when it last started."""

    pool: Pool
    spec: InferencePoolSpec
    variant: Variant
    pods: tuple[EnginePod, ...]
    engines: tuple[Engine, ...]
    demand: Demand
    plan: Plan
    fits_somewhere: bool
    failures: Failures
    before: InferencePoolSpec | None = None


def pool_status(world: World, pool: Pool, view: View | None) -> dict[str, Any]:
    """The whole status; `view` None: the spec cannot be read."""
    now_s = time.time()
    if view is None:
        wrong = (False, Reason.INVALID_SPEC, pool.error)
        conditions = conditions_of(pool, now_s, accepted=wrong, ready=wrong)
        return dict(pool.status) | {"observedGeneration": pool.generation, "conditions": conditions}
    count = {state: sum(e.state is state and e.answers for e in view.engines) for state in State}
    starting = count[State.PENDING] + count[State.STARTING] + count[State.WAKING]
    ready = _ready(world, view, count)
    under_way = starting + count[State.SLEEPING] + count[State.STOPPING] > 0
    progress = Reason.PROGRESSING if under_way else Reason.RECONCILED
    return {
        "observedGeneration": pool.generation,
        "revision": revision_of(view.spec, view.variant),
        "replicas": {
            "awake": count[State.AWAKE],
            "asleep": count[State.ASLEEP],
            "starting": starting,
            "wanted": view.plan.wanted_awake,
        },
        "selector": f"{LABEL_POOL}={pool.key[1]}",
        "waiting": view.demand.waiting,
        "demandPercentByHour": list(loads.wanted_percent(world, pool.name, now_s)),
        "engines": [_engine(world, view, pod) for pod in sorted(view.pods, key=lambda p: p.key)],
        "conditions": conditions_of(
            pool,
            now_s,
            accepted=_accepted(world, view),
            ready=ready,
            reconciling=(under_way, progress, ""),
            stalled=_stalled(world, view, ready),
        ),
        **_last_good(pool, view),
    }


def _last_good(pool: Pool, view: View) -> dict[str, Any]:
    mine = {revision_of(view.spec, variant) for variant in view.spec.variants}
    started = any(e.revision in mine and e.state in UP and e.answers for e in view.engines)
    kept = to_keep(pool, view.spec, revision_of(view.spec, view.variant), started)
    return {"lastGood": kept} if kept else {}


def _engine(world: World, view: View, pod: EnginePod) -> dict[str, Any]:
    engine = next(e for e in view.engines if e.uid == pod.uid)
    trouble = world.notes.troubles.get(pod.uid)
    fields = {
        "pod": pod.key[1],
        "podUID": pod.uid,
        "node": pod.node,
        "gpus": list(pod.gpus),
        "variant": pod.variant,
        "revision": pod.revision,
        "state": _state_name(engine.state, pod),
        "since": timestamp(engine.since_s),
        "wakeMilliseconds": world.notes.wake_ms.get(pod.uid) or _kept(view.pool, pod, "wakeMilliseconds"),
        "startMilliseconds": world.notes.start_ms.get(pod.uid) or _kept(view.pool, pod, "startMilliseconds"),
        "reason": trouble[0] if trouble else None,
        "message": trouble[1][:1024] if trouble else None,
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _state_name(state: State, pod: EnginePod) -> str:
    tier = tier_of(state, pod.need.level) if state is State.ASLEEP else None
    return tier.value if tier is not None else _STATE_NAMES.get(state, state.value)


def _kept(pool: Pool, pod: EnginePod, name: str) -> int | None:
    """A duration that an earlier leader measured: kept, since it is nowhere else."""
    old = (e for e in pool.status.get("engines") or () if e.get("podUID") == pod.uid)
    return next((e.get(name) for e in old), None)


def older_namesake(world: World, pool: Pool) -> Pool | None:
    """Another pool with the same model name that came first: it has the bare name."""
    if pool.spec is None:
        return None
    mine = {pool.spec.model, *pool.spec.aliases}
    for other in world.pools.store.values():
        if other.uid == pool.uid or other.spec is None or not mine & {other.spec.model, *other.spec.aliases}:
            continue
        if (other.created_at, other.name) < (pool.created_at, pool.name):
            found: Pool = other
            return found
    return None


def _accepted(world: World, view: View) -> Verdict:
    older = older_namesake(world, view.pool)
    if older is not None:
        text = f"pool {older.name} is older and has the model name; use {view.pool.key[0]}/{view.spec.model} or rename"
        return True, Reason.MODEL_CONFLICTED, text
    missing = _fits_nowhere(world, view)
    if missing:
        return False, Reason.VARIANT_FITS_NO_GPU, missing
    if lacks_launcher(world, view.spec):
        return False, Reason.SPARE_NOT_INSTALLED, NO_SPARES
    two = two_scalers(world, view.pool, view.spec)
    if two:
        return True, Reason.TWO_SCALERS, two
    return True, Reason.ACCEPTED, ""


def _ready(world: World, view: View, count: dict[State, int]) -> Verdict:
    trouble = next((t for t in (world.notes.troubles.get(e.uid) for e in view.engines) if t), None)
    if not count[State.AWAKE] and not count[State.ASLEEP]:
        missing = _fits_nowhere(world, view)
        if missing:
            return False, Reason.VARIANT_FITS_NO_GPU, missing
        if lacks_launcher(world, view.spec):
            return False, Reason.SPARE_NOT_INSTALLED, NO_SPARES
    if trouble and count[State.AWAKE] < max(1, view.plan.wanted_awake):
        return False, Reason(trouble[0]), trouble[1]
    if count[State.AWAKE] and count[State.AWAKE] >= view.plan.wanted_awake:
        return True, Reason.SERVING, ""
    failed = world.notes.failures.get(view.pool.name)
    last = world.notes.troubles.get(view.pool.name)
    if failed and failed.count and last and not count[State.ASLEEP]:
        return False, Reason(last[0]), last[1]
    if count[State.WAKING]:
        return False, Reason.WAKING, "an engine is waking"
    if count[State.STARTING] or count[State.AWAKE] < view.plan.wanted_awake:
        return False, Reason.ENGINE_STARTING, "an engine is starting"
    if count[State.PENDING]:
        return False, Reason.AWAITING_PLACEMENT, "an engine waits for a node"
    return (True, Reason.ASLEEP, "") if count[State.ASLEEP] else (True, Reason.IDLE, "")


def lacks_launcher(world: World, spec: InferencePoolSpec) -> bool:
    """Whether its engines would be spares, and there is nothing to make them of."""
    return level_of(spec.warm.level) is Level.SPARE and not world.settings.spare_image


def _fits_nowhere(world: World, view: View) -> str:
    from_nodes = [g for n in world.gpu_nodes.store.values() for g in n.status.gpus]
    if not from_nodes or view.fits_somewhere:
        return ""
    largest = max(g.memory_mib.total - g.memory_mib.reserved for g in from_nodes)
    variant = view.variant
    selector = view.spec.placement.node_selector.items()
    if not any(selector <= node.labels.items() for node in world.nodes.store.values()):
        wanted = ", ".join(f"{key}={value}" for key, value in selector)
        return f"no node has the labels {wanted}: change placement.nodeSelector or label a node"
    where = f" with labels {', '.join(f'{key}={value}' for key, value in selector)}" if selector else ""
    return (
        f"variant {variant.name} needs {variant.gpus} x {variant.memory_mib.awake} MiB"
        f" on {', '.join(variant.gpu_products) or 'any GPU'} of one node{where}; the largest GPU here has {largest} MiB:"
        " lower memoryMiB.awake, use more GPUs, other gpuProducts or another placement.nodeSelector"
    )


def _stalled(world: World, view: View, ready: Verdict) -> Verdict:
    failed = view.failures
    if failed.count >= BACK_AFTER:
        reason, message = world.notes.troubles.get(view.pool.name, (Reason.ENGINE_NEVER_READY.value, ""))
        anew = ", and lost ones are made anew" if view.before is not None else ""
        stays = f"; the engines of the revision before stay{anew}" if view.plan.goes_back else ""
        return True, Reason(reason), f"{failed.count}{FAILED_IN_A_ROW}{stays}{LAST_FAILURE}{message}"
    if ready[1] in (Reason.VARIANT_FITS_NO_GPU, Reason.SPARE_NOT_INSTALLED):
        return True, ready[1], ready[2]
    return False, Reason.RECONCILED, ""
