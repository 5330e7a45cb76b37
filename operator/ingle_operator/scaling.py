"""How many replicas a pool wants beyond counting its requests: what engines say, what is forecast, who else decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingle_core.scaling.desired import Desired, EngineReading, Readings, Targets, desired
from ingle_core.scaling.forecast import Forecast, ahead
from ingle_core.warmpool.facts import Demand
from ingle_core.warmpool.peaks import Peaks
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.autoscalers import contradiction, owners
from ingle_operator.demandhistory import DemandHistory, Prometheus
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.settings import OperatorSettings

if TYPE_CHECKING:
    from ingle_operator.world import World

LEAD_UNKNOWN_S = 300.0
LEAD_MIN_S = 60.0


@dataclass
class ScalingNotes:
    """What a restart may lose, by pool. `tried_at_s`: when its forecast was last made or tried; `said`: the last decision;
    `told`: the counts of the last events.
    """

    history: DemandHistory
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    tried_at_s: dict[str, float] = field(default_factory=dict)
    desired: dict[str, Peaks] = field(default_factory=dict)
    said: dict[str, Scaled] = field(default_factory=dict)
    told: dict[str, tuple[int, int]] = field(default_factory=dict)

    def keep(self, pools: set[str], forecast: set[str]) -> None:
        """Forgets pools that are gone, and the forecasts of those that want none any more."""
        self.history.keep(forecast)
        for notes, wanted in (
            (self.forecasts, forecast),
            (self.tried_at_s, forecast),
            (self.desired, pools),
            (self.said, pools),
            (self.told, pools),
        ):
            for gone in notes.keys() - wanted:
                notes.pop(gone)

    def close(self) -> None:
        if self.history.prometheus is not None:
            self.history.prometheus.close()


def notes_of(settings: OperatorSettings) -> ScalingNotes:
    prometheus = None
    if settings.prometheus_url:
        prometheus = Prometheus(settings.prometheus_url, settings.prometheus_limit_s)
    return ScalingNotes(DemandHistory(prometheus))


@dataclass(frozen=True)
class Scaled:
    """What PoolWish takes: `desired` and `lately` None where counting requests is all; `reasons` for people."""

    desired: int | None = None
    lately: int | None = None
    ahead: int = 0
    ahead_reason: str = ""
    decided_by: str = ""
    reasons: tuple[str, ...] = ()


STEPPED_BACK = Scaled()


def scaled(
    world: World,
    pool: Pool,
    spec: InferencePoolSpec,
    pods: tuple[EnginePod, ...],
    demand: Demand,
    now_s: float,
) -> Scaled:
    """What is wanted beyond the count of requests; nothing where /scale or an autoscaler sets it."""
    found = world.scaling.said[pool.name] = _scaled(world, pool, spec, pods, demand, now_s)
    return found


def _scaled(
    world: World,
    pool: Pool,
    spec: InferencePoolSpec,
    pods: tuple[EnginePod, ...],
    demand: Demand,
    now_s: float,
) -> Scaled:
    if spec.replicas.fixed is not None or owners(world.autoscalers.store.values(), pool.name):
        return STEPPED_BACK
    more, why = 0, ""
    if spec.scaling.forecast != "None":
        forecast = world.scaling.forecasts.get(pool.name)
        more, why = ahead(forecast, now_s, lead_s(pool), spec.scaling.concurrency)
    targets = targets_of(spec)
    if targets.queue is None and targets.kv_fraction is None and targets.ttft_s is None:
        return Scaled(ahead=more, ahead_reason=why)
    want = desired(targets, Readings(demand.waiting + demand.in_flight, readings_of(world, pods)))
    return _with_lately(world, pool.name, spec, demand, want, Scaled(ahead=more, ahead_reason=why), now_s)


def _with_lately(
    world: World,
    pool: str,
    spec: InferencePoolSpec,
    demand: Demand,
    want: Desired,
    found: Scaled,
    now_s: float,
) -> Scaled:
    """Down slowly: nothing sleeps that was wanted at any time of the last idleSeconds."""
    peaks = world.scaling.desired.setdefault(pool, Peaks())
    peaks.note(want.count, now_s)
    by_load = -(-demand.peak // spec.scaling.concurrency)
    lately = max(by_load, peaks.over(float(spec.warm.idle_seconds), now_s))
    return Scaled(want.count, lately, found.ahead, found.ahead_reason, want.decided_by, want.reasons)


def targets_of(spec: InferencePoolSpec) -> Targets:
    scaling = spec.scaling
    return Targets(
        scaling.concurrency,
        scaling.queue,
        None if scaling.kv_percent is None else scaling.kv_percent / 100,
        None if scaling.ttft_milliseconds is None else scaling.ttft_milliseconds / 1000,
    )


def readings_of(world: World, pods: tuple[EnginePod, ...]) -> tuple[EngineReading, ...]:
    """Each pickable engine's word; where several routers have heard it, the worst of what they heard."""
    uids = {pod.uid for pod in pods}
    heard: dict[str, EngineReading] = {}
    for demand in world.demands():
        for e in demand.endpoints:
            if e.pod_uid not in uids or not e.pickable:
                continue
            old = heard.get(e.pod_uid, EngineReading())
            kv_fraction = None if e.kv_percent is None else e.kv_percent / 100
            ttft_s = None if e.ttft_ms is None else e.ttft_ms / 1000
            heard[e.pod_uid] = EngineReading(
                None if e.queue is None and old.queue is None else max(e.queue or 0, old.queue or 0),
                _worse(kv_fraction, old.kv_fraction),
                _worse(ttft_s, old.ttft_s),
            )
    return tuple(heard.values())


def _worse(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def lead_s(pool: Pool) -> float:
    """How long a replica of this pool may need to become awake: its longest known start, 5 minutes where none is known."""
    known = [e.get("startMilliseconds") for e in pool.status.get("engines") or ()]
    return max((max(LEAD_MIN_S, ms / 1000) for ms in known if ms), default=LEAD_UNKNOWN_S)


def two_scalers(world: World, pool: Pool, spec: InferencePoolSpec) -> str:
    """Why more than one wants to decide this pool's count; empty where that is not so."""
    return contradiction(spec, owners(world.autoscalers.store.values(), pool.name))
