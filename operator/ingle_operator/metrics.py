"""/metrics and /healthz of the operator."""

from __future__ import annotations

from collections import Counter

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client import Counter as PromCounter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingle_operator.world import World

WATCH_AGE_MAX_S = 120.0
KEY_AGE_MAX_S = 120.0


class OperatorMetrics(Collector):
    """Gauges are read from the world when asked; counters are counted where things happen."""

    def __init__(self, world: World) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._world = world
        for measured in world.notes.meter.collectors():
            self.registry.register(measured)
        self.reconciles = PromCounter("ingle_reconciles", "Keys worked on", ["topic"], registry=self.registry)

    def collect(self) -> list[Metric]:
        world = self._world
        queue = world.queue
        gauges: list[Metric] = [
            _gauge("ingle_queue_depth", "Keys that wait", queue.depth() if queue else 0),
            _gauge(
                "ingle_queue_oldest_seconds",
                "Age of the oldest key that waits",
                queue.oldest_s() if queue else 0,
            ),
            _gauge("ingle_leader", "1 while this process leads", float(world.leader.valid_for_s() > 0)),
            _gauge("ingle_leader_epoch", "Epoch of the lease", world.leader.epoch),
            _gauge(
                "ingle_lease_valid_seconds",
                "Time the lease still lasts",
                max(0.0, world.leader.valid_for_s()),
            ),
            _count("ingle_wakes", "Wake calls sent", world.notes.wake_count),
            _count("ingle_ledger_conflicts", "Ledger writes repeated", world.notes.ledger_conflicts),
            _gauge("ingle_weights_copiers", "Pods that copy weights to a node", len(world.copiers.store)),
            _waits(world),
            _misses(world, "weights", "ingle_weights_misses", "Starts without a whole copy of their weights"),
            _misses(world, "compile", "ingle_compile_cache_misses", "Starts without their compile cache"),
        ]
        ages = GaugeMetricFamily(
            "ingle_watch_age_seconds", "Since the server was last heard", labels=["kind"]
        )
        for reflector in world.reflectors():
            ages.add_metric([reflector.plural], reflector.age_s())
        return [*gauges, ages, _engines(world), *_forecasts(world)]


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _count(name: str, text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _waits(world: World) -> GaugeMetricFamily:
    family = GaugeMetricFamily("ingle_weights_waits", "Wanted copies of weights that wait", labels=["reason"])
    for reason, count in Counter(world.notes.fetch_waits.values()).items():
        family.add_metric([reason.value], count)
    return family


def _misses(world: World, kind: str, name: str, text: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, f"{text} on the node", labels=["reason"])
    for (of, reason), count in world.notes.cache_misses.items():
        if of == kind:
            family.add_metric([reason], count)
    return family


def _forecasts(world: World) -> list[Metric]:
    prometheus = world.scaling.history.prometheus
    asked, failed = (prometheus.asked, prometheus.failed) if prometheus is not None else (0, 0)
    return [
        _gauge("ingle_forecasts", "Pools with a forecast", len(world.scaling.forecasts)),
        _count("ingle_demand_history_queries", "Questions to Prometheus about load of the past", asked),
        _count("ingle_demand_history_failures", "Of those, without an answer in time", failed),
    ]


def _engines(world: World) -> GaugeMetricFamily:
    family = GaugeMetricFamily("ingle_engines", "Engines by ledger state", labels=["state"])
    states = Counter(
        holder.state
        for name in world.gpu_nodes.store
        for ledger in [world.ledger(name[1])]
        if ledger is not None
        for holder in ledger.pods
    )
    for state, count in states.items():
        family.add_metric([state], count)
    return family


def health(world: World) -> tuple[bool, str]:
    """Alive means: watches are heard and no key is stuck. A standby is healthy too."""
    for reflector in world.reflectors():
        if reflector.age_s() > WATCH_AGE_MAX_S:
            return False, f"watch of {reflector.plural} silent for {reflector.age_s():.0f} s"
    if world.queue is not None and world.queue.oldest_s() > KEY_AGE_MAX_S:
        return False, f"a key waits for {world.queue.oldest_s():.0f} s"
    return True, "ok"


def application(world: World, metrics: OperatorMetrics) -> web.Application:
    async def show(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        good, text = health(world)
        return web.Response(text=text, status=200 if good else 500)

    app = web.Application()
    app.router.add_get("/metrics", show)
    app.router.add_get("/healthz", healthz)
    return app
