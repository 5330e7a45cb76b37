"""What the picker, the waiting room and the demand stream share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ingle_core.routing import Decision, Endpoint, Hold, Refuse, Request, Serve, Wait, route
from ingle_router.cluster import Cluster
from ingle_router.identity import Identity
from ingle_router.metrics import Metrics
from ingle_router.places import Place, Places
from ingle_router.settings import Settings


@dataclass(slots=True)
class Arrivals:
    """Requests that asked for a pool since this router started; `last_at_s` in Unix seconds."""

    count: int = 0
    last_at_s: float = 0.0


class Router:
    """One router's state and its few transitions; all of it belongs to one event loop."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        identity: Identity,
        metrics: Metrics,
        synced: Callable[[], bool],
    ) -> None:
        self.settings, self.cluster, self.identity, self.metrics = settings, cluster, identity, metrics
        self.places = Places(settings.waiting_max, settings.waiting_bytes_max, self._waiting_changed)
        self.arrivals: dict[str, Arrivals] = {}
        self.draining = False
        self.waiting_room = f"{settings.listen}:{settings.port_waiting_room}"
        self._synced = synced
        cluster.waiting = self.places

    def ready(self) -> bool:
        """Whether decisions can be made: without the policies everything would be allowed."""
        return self._synced()

    def route(self, request: Request) -> Decision:
        """The decision on today's facts."""
        return route(request, self.cluster.directory, self.cluster, time.monotonic(), random.random())

    def waiting_request(self, place: Place) -> Request:
        """The request of a place, as it stands now: it waits already."""
        return replace(place.request, wait=Wait(place.pool, place.until_s))

    def arrived(self, model: str) -> None:
        pool = self.cluster.directory.resolve(model)
        if pool is not None:
            arrivals = self.arrivals.setdefault(pool.key, Arrivals())
            arrivals.count += 1
            arrivals.last_at_s = time.time()

    def take_place(self, request: Request, hold: Hold, size_bytes: int, stream: bool) -> Place | None:
        pool = self.cluster.directory.pools[hold.pool]
        place = self.places.take(
            request,
            hold.pool,
            stream=stream,
            size_bytes=size_bytes,
            now_s=time.monotonic(),
            limit_s=hold.limit_s,
            heartbeat_s=pool.heartbeat_s,
        )
        if place is not None:
            self.metrics.holds.labels(hold.pool).inc()
        return place

    def served(self, place: Place | None, request: Request, serve: Serve) -> None:
        """An engine was picked; `place` where the request had waited."""
        wanted = self._asked_for(request)
        if wanted != serve.pool:
            self.metrics.fallbacks.labels(wanted).inc()
        if place is None:
            self.metrics.requests.labels(wanted, "hot", "").inc()
            return
        self.places.leave(place)
        place.held_s = time.monotonic() - place.since_s
        place.outcome = "cold" if serve.endpoint.seen_at_s > place.since_s else "woken"

    def refused(self, place: Place | None, refusal: Refuse) -> None:
        if place is None:
            self.metrics.requests.labels(refusal.pool, "refused", refusal.code).inc()
        else:
            place.outcome = "refused"

    def answered(self, endpoint: Endpoint, status: str) -> None:
        """The engine (or Envoy in its stead) answered."""
        if status.startswith("5"):
            self.cluster.failed(endpoint)
            self.metrics.failures.labels(endpoint.pool).inc()
        else:
            self.cluster.succeeded(endpoint)

    def close_place(self, place: Place) -> None:
        """The held request is over, for whatever reason; counted once."""
        if self.places.close(place):
            pool = self._asked_for(place.request)
            self.metrics.requests.labels(pool, place.outcome, "").inc()
            held_s = time.monotonic() - place.since_s if place.held_s is None else place.held_s
            self.metrics.hold_s.labels(pool).observe(held_s)

    def _asked_for(self, request: Request) -> str:
        pool = self.cluster.directory.resolve(request.model)
        return "" if pool is None else pool.key

    def _waiting_changed(self, _: str) -> None:
        self.cluster.on_demand()
