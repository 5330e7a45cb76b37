"""Prometheus metrics of the extender."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FILTER_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_BIND_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """One registry; labels have few, fixed values."""

    def __init__(
        self, *, assumed: Callable[[], float], watch_age_s: Mapping[str, Callable[[], float]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.filter_s = Histogram(
            "ingle_extender_filter_seconds",
            "Time of a filter call, JSON included.",
            ["outcome"],
            buckets=_FILTER_BUCKETS,
            registry=self.registry,
        )
        self.bind_s = Histogram(
            "ingle_extender_bind_seconds",
            "Time of a bind call: claim and Binding.",
            ["outcome"],
            buckets=_BIND_BUCKETS,
            registry=self.registry,
        )
        self.conflicts = Counter(
            "ingle_ledger_conflicts",
            "Claims that had to be tried again because somebody else wrote the ledger.",
            registry=self.registry,
        )
        self.refused = Counter(
            "ingle_ledger_refused",
            "Claims that did not fit when written.",
            ["reason"],
            registry=self.registry,
        )
        gauge = Gauge(
            "ingle_extender_assumed_pods", "Choices that no ledger shows yet.", registry=self.registry
        )
        gauge.set_function(assumed)
        ages = Gauge(
            "ingle_watch_age_seconds",
            "Time since the API server was last heard.",
            ["kind"],
            registry=self.registry,
        )
        for kind, age_s in watch_age_s.items():
            ages.labels(kind).set_function(age_s)
