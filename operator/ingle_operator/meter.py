"""How long engines took to become ready, under the names and by the paths that llm-d's Fast Model Actuation uses."""

from __future__ import annotations

from typing import Final, Literal, get_args

from prometheus_client import Histogram
from prometheus_client.registry import Collector

from ingle_core.warmpool.facts import State
from ingle_kit.labels import BoundedLabel

Path = Literal["hot", "warm", "cold"]

WAKE_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 8, 13, 20, 30, 60)
START_BUCKETS_S: Final = (1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)
ACTUATION_BUCKETS_S: Final = (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1200)


class Meter:
    """Histograms, and who is on the way since when (Unix seconds). What is on the way may be lost with the process."""

    def __init__(self) -> None:
        self._pool = BoundedLabel()
        self._shown: set[str] = set()
        self._paths: dict[str, tuple[Path, float]] = {}
        self.actuation_s = _histogram(
            "ingle_actuation_seconds",
            "From an engine being wanted awake (a start: its pod's creation) until its gate opened. "
            "path: hot (woken), warm (loaded into a spare, or started where its weights lay on disk), cold (started elsewhere).",
            ("pool", "path"),
            ACTUATION_BUCKETS_S,
        )
        self.wake_s = _histogram(
            "ingle_wake_seconds",
            "The engine's answer to a wake call. success: whether it said that it is awake.",
            ("pool", "success"),
            WAKE_BUCKETS_S,
        )
        self.cold_start_s = _histogram(
            "ingle_cold_start_seconds",
            "From a pod's creation until its engine had answered its first probe.",
            ("pool",),
            START_BUCKETS_S,
        )

    def collectors(self) -> tuple[Collector, ...]:
        return self.actuation_s, self.wake_s, self.cold_start_s

    def follow(
        self,
        uid: str,
        pool: str,
        state: State,
        wanted: bool,
        start: tuple[Path, float],
        now_s: float,
        wake: Path = "hot",
    ) -> None:
        """Notes when an engine set out; an engine that is no longer wanted has not.

        `start`: the path and time of a start from nothing, should it be one; `wake`: the path of a wake.
        """
        self._show(pool)
        if state is State.STARTING:
            self._paths.setdefault(uid, start)
        elif state is State.WAKING or (state is State.ASLEEP and wanted):
            self._paths.setdefault(uid, (wake, now_s))
        elif state is not State.AWAKE:
            self._paths.pop(uid, None)

    def opened(self, uid: str, pool: str, now_s: float) -> None:
        """Its gate is open. Counted once a journey: a gate that only closed for a while was none."""
        path, since_s = self._paths.pop(uid, (None, now_s))
        if path is not None:
            self.actuation_s.labels(self._pool(pool), path).observe(max(0.0, now_s - since_s))

    def woke(self, pool: str, took_s: float, success: bool) -> None:
        self.wake_s.labels(self._pool(pool), "true" if success else "false").observe(took_s)

    def started(self, pool: str, took_s: float) -> None:
        self.cold_start_s.labels(self._pool(pool)).observe(took_s)

    def _show(self, pool: str) -> None:
        """All series of a pool stand at 0 from the beginning, or Prometheus would miss the first of each."""
        label = self._pool(pool)
        if label in self._shown:
            return
        self._shown.add(label)
        self.cold_start_s.labels(label)
        for path in get_args(Path):
            self.actuation_s.labels(label, path)
        for success in ("true", "false"):
            self.wake_s.labels(label, success)

    def forget(self, uid: str) -> None:
        """An engine is gone."""
        self._paths.pop(uid, None)

    def forget_pool(self, pool: str) -> None:
        """A pool is gone, and its series with it."""
        if self._pool.let_go(pool):
            self._shown.discard(pool)
            for histogram in (self.actuation_s, self.wake_s, self.cold_start_s):
                histogram.remove_by_labels({"pool": pool})


def _histogram(name: str, what: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, what, labels, buckets=buckets, registry=None)
