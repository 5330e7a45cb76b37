"""What the picker, the waiting room and the demand stream share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ingle_core.routing import Decision, Endpoint, Hold, Refuse, Request, Serve, Wait, route
from ingle_core.routing.tenants import tenant_of
from ingle_router.cluster import Cluster
from ingle_router.identity import Identity
from ingle_router.metrics import Metrics
from ingle_router.places import Place, Places
from ingle_router.releases import Releases
from ingle_router.settings import Settings

GAVE_WAY: Final = Refuse(
    429, "waiting_room_full", "The waiting room is full, and others who wait hold fewer places than you.", 5
)
STOPPING: Final = Refuse(503, "stopping", "This router is stopping. Try again.", 1)
ASKED_S: Final = 30.0
"""How long a request counts as demand that a pool refused at once because nothing may wait for it."""


@dataclass(slots=True)
class Arrivals:
    """Requests that asked for a pool since this router started; `last_at_s` in Unix seconds.

    `refused_until_s` on the monotonic clock: until then one counts as demand that could not wait.
    """

    count: int = 0
    last_at_s: float = 0.0
    refused_until_s: float = 0.0


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
        self.places = Places(
            settings.waiting_max, settings.waiting_bytes_max, self._waiting_changed, GAVE_WAY
        )
        self.releases = Releases(self.places, cluster, settings.released_max, settings.released_s)
        self.arrivals: dict[str, Arrivals] = {}
        self.draining = False
        self.waiting_room = f"{settings.listen}:{settings.port_waiting_room}"
        self._synced = synced
        cluster.waiting = self.places
        cluster.on_change = self._stir

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
        self.metrics.found.labels(hold.pool, self.cluster.found(hold.pool)).inc()
        assert request.caller is not None, "nobody is held before it is known who asks"
        place = self.places.take(
            request,
            hold,
            tenant_of(request.caller),
            stream=stream,
            size_bytes=size_bytes,
            now_s=time.monotonic(),
            heartbeat_s=pool.heartbeat_s,
        )
        if place is not None:
            self.metrics.holds.labels(hold.pool).inc()
        return place

    def wait(self, place: Place, pool: str) -> None:
        """It waits for `pool` (again, where it had a turn)."""
        self.places.wait(place, pool)
        if not place.released:
            self.releases.settled(place)
        self.releases.go(pool)

    def passed_on(self, place: Place) -> None:
        """A held request has its answer: the rest is a response like any other."""
        self.places.answered(place)
        self.releases.settled(place)

    def send_away(self) -> None:
        """Whoever still waits is told to try again elsewhere."""
        for place in tuple(self.places):
            self.places.dismiss(place, STOPPING)

    def asked(self, pool: str) -> int:
        """1 where a request was refused of late that nothing but an awake engine could have helped, else 0."""
        arrivals = self.arrivals.get(pool)
        if arrivals is None or time.monotonic() >= arrivals.refused_until_s:
            return 0
        return 0 if any(endpoint.pickable for endpoint in self.cluster[pool].endpoints) else 1

    def served(self, place: Place | None, request: Request, serve: Serve) -> None:
        """An engine was picked; `place` where the request had waited."""
        wanted = self._asked_for(request)
        if wanted != serve.pool:
            self.metrics.fallbacks.labels(wanted).inc()
        if place is None:
            self.metrics.requests.labels(wanted, "hot", "").inc()
            self.metrics.found.labels(serve.pool, "hot").inc()
            return
        self.places.leave(place)
        place.held_s = time.monotonic() - place.since_s
        place.outcome = "cold" if serve.endpoint.seen_at_s > place.since_s else "woken"

    def refused(self, place: Place | None, refusal: Refuse) -> None:
        if place is None:
            self.metrics.requests.labels(refusal.pool, "refused", refusal.code).inc()
            self._ask_all_the_same(refusal)
        else:
            place.outcome, place.code = "refused", refusal.code

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
            self.releases.settled(place)
            pool = self._asked_for(place.request)
            self.metrics.requests.labels(pool, place.outcome, place.code).inc()
            held_s = time.monotonic() - place.since_s if place.held_s is None else place.held_s
            self.metrics.hold_s.labels(pool).observe(held_s)

    def _asked_for(self, request: Request) -> str:
        pool = self.cluster.directory.resolve(request.model)
        return "" if pool is None else pool.key

    def _ask_all_the_same(self, refusal: Refuse) -> None:
        """Where nothing may wait, a refused request is the only sign that the model is wanted."""
        pool = self.cluster.directory.pools.get(refusal.pool)
        if pool is None or refusal.code != "no_endpoint" or (pool.hold_s > 0 and pool.waiting_max > 0):
            return
        arrivals = self.arrivals.setdefault(pool.key, Arrivals())
        arrivals.refused_until_s = time.monotonic() + ASKED_S
        self.cluster.on_demand()

    def _stir(self) -> None:
        for pool in self.places.pools():
            self.releases.go(pool)
        self.places.stir()

    def _waiting_changed(self, _: str) -> None:
        self.cluster.on_demand()
