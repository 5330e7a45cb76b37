"""What the router counts. Labels are pools and outcomes, never callers, tokens or prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingle_router.cluster import Cluster
from ingle_router.places import Places

_HOLD_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)
_PICK_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)


class Metrics:
    """Counters and histograms of one router, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests",
            "Requests by the pool asked for and outcome: hot, woken, cold, refused, gone (the client left first).",
            "pool",
            "outcome",
            "code",
        )
        self.fallbacks = self._counter("fallbacks", "Requests served by another pool.", "pool")
        self.holds = self._counter("holds", "Requests that had to wait.", "pool")
        self.failures = self._counter("engine_failures", "Responses of engines with status 5xx.", "pool")
        self.token_reviews = self._counter(
            "token_reviews", "Tokens looked at: hit (remembered), authenticated, refused, error.", "result"
        )
        self.faults = self._counter("faults", "Errors of the picker itself.", "error")
        self.hold_s = Histogram(
            "ingle_router_hold_seconds",
            "From a held request's arrival until an engine was picked, or it was refused or left.",
            ("pool",),
            buckets=_HOLD_S,
            registry=self.registry,
        )
        self.pick_s = Histogram(
            "ingle_router_picker_seconds",
            "One decision: body read, permitted, picked, answer written.",
            buckets=_PICK_S,
            registry=self.registry,
        )

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"ingle_router_{name}_total", what, labels, registry=self.registry)

    def observe(
        self, cluster: Cluster, places: Places, watch_age_s: Mapping[str, Callable[[], float]]
    ) -> None:
        """Adds the gauges that are read when somebody asks."""
        self.registry.register(_State(cluster, places, watch_age_s))


class _State(Collector):
    def __init__(
        self, cluster: Cluster, places: Places, watch_age_s: Mapping[str, Callable[[], float]]
    ) -> None:
        self._cluster, self._places, self._watch_age_s = cluster, places, watch_age_s

    def collect(self) -> Iterator[Metric]:
        engines = GaugeMetricFamily("ingle_router_endpoints", "Engines known.", labels=("pool", "pickable"))
        flying = GaugeMetricFamily("ingle_router_in_flight", "Requests on engines.", labels=("pool",))
        waiting = GaugeMetricFamily("ingle_router_waiting", "Requests in the waiting room.", labels=("pool",))
        age = GaugeMetricFamily(
            "ingle_watch_age_seconds", "Since the watch was last heard.", labels=("kind",)
        )
        for pool in sorted({*self._cluster, *self._cluster.directory.pools}):
            endpoints, waits = self._cluster[pool]
            able = sum(e.pickable for e in endpoints)
            engines.add_metric((pool, "true"), able)
            engines.add_metric((pool, "false"), len(endpoints) - able)
            flying.add_metric((pool,), sum(e.in_flight for e in endpoints))
            waiting.add_metric((pool,), waits)
        for kind, read in self._watch_age_s.items():
            age.add_metric((kind,), read())
        yield from (engines, flying, waiting, age)
