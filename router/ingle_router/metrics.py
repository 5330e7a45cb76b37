"""What the router counts. Labels are pools and outcomes, never callers, tokens or prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingle_router.cluster import Cluster

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
        self.found = Counter(
            "ingle_requests_found_total",
            "Requests by the warmest that they found in the pool they were sent to: hot (an engine took it at once), "
            "starting (one was waking or starting already), asleep (a wake away), spare (a load away), cold (nothing).",
            ("pool", "found"),
            registry=self.registry,
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

    def observe(self, cluster: Cluster, watch_age_s: Mapping[str, Callable[[], float]]) -> None:
        """Adds the gauges that are read when somebody asks."""
        self.registry.register(_State(cluster, watch_age_s, self.forget))

    def forget(self, pools: set[str]) -> None:
        """Series of pools that are gone go too."""
        by_pool = (self.requests, self.found, self.fallbacks, self.holds, self.failures, self.hold_s)
        for pool in pools:
            for metric in by_pool:
                metric.remove_by_labels({"pool": pool})


class _State(Collector):
    def __init__(
        self,
        cluster: Cluster,
        watch_age_s: Mapping[str, Callable[[], float]],
        forget: Callable[[set[str]], None],
    ) -> None:
        self._cluster, self._watch_age_s = cluster, watch_age_s
        self._forget, self._told = forget, set[str]()

    def collect(self) -> Iterator[Metric]:
        engines = GaugeMetricFamily("ingle_router_endpoints", "Engines known.", labels=("pool", "pickable"))
        flying = GaugeMetricFamily("ingle_router_in_flight", "Requests on engines.", labels=("pool",))
        waiting = GaugeMetricFamily("ingle_router_waiting", "Requests in the waiting room.", labels=("pool",))
        held = GaugeMetricFamily(
            "ingle_router_held_requests", "Requests held in memory, at most INGLE_WAITING_MAX and an eighth."
        )
        held_bytes = GaugeMetricFamily(
            "ingle_router_held_bytes", "Their bodies, at most INGLE_WAITING_BYTES_MAX and an eighth."
        )
        room = self._cluster.waiting
        held.add_metric((), 0 if room is None else room.held)
        held_bytes.add_metric((), 0 if room is None else room.held_bytes)
        age = GaugeMetricFamily(
            "ingle_watch_age_seconds", "Since the watch was last heard.", labels=("kind",)
        )
        pools = {*self._cluster, *self._cluster.directory.pools}
        self._forget(self._told - pools)
        self._told = pools
        for pool in sorted(pools):
            endpoints, waits, _ = self._cluster[pool]
            able = sum(e.pickable for e in endpoints)
            engines.add_metric((pool, "true"), able)
            engines.add_metric((pool, "false"), len(endpoints) - able)
            flying.add_metric((pool,), sum(e.in_flight for e in endpoints))
            waiting.add_metric((pool,), waits)
        for kind, read in self._watch_age_s.items():
            age.add_metric((kind,), read())
        yield from (engines, flying, waiting, held, held_bytes, age)
