"""`GET /v1/demand`, `/metrics`, `/healthz`: what others read of this router."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ingle_core.routing import Endpoint
from ingle_core.scaling.desired import EngineReading
from ingle_kit.streams import Demand, EndpointDemand, PoolDemand
from ingle_router.state import Arrivals, Router

WRITE_S_MAX: Final = 5.0
_NONE: Final = Arrivals()
_NOT_HEARD: Final = EngineReading()


def snapshot(router: Router, sequence: int) -> Demand:
    """Everything that is asked for now."""
    cluster, now_s = router.cluster, time.monotonic()
    oldest_s = router.places.oldest_s()
    pools = []
    for pool in sorted({*cluster, *cluster.directory.pools}):
        load = cluster[pool]
        arrivals = router.arrivals.get(pool, _NONE)
        pools.append(
            PoolDemand(
                pool=pool,
                waiting=max(load.waiting, router.asked(pool)),
                in_flight=sum(endpoint.in_flight for endpoint in load.endpoints),
                oldest_wait_s=now_s - oldest_s[pool] if pool in oldest_s else 0.0,
                arrivals=arrivals.count,
                last_arrival_at_s=arrivals.last_at_s,
            )
        )
    engines = (_endpoint(router, endpoint) for endpoint in cluster.endpoints.values())
    return Demand(router.settings.pod_name, sequence, time.time(), tuple(pools), tuple(engines))


def _endpoint(router: Router, endpoint: Endpoint) -> EndpointDemand:
    said = router.cluster.readings.last.get(endpoint.pod_uid, _NOT_HEARD)
    return EndpointDemand(
        endpoint.pod_uid,
        endpoint.pickable,
        endpoint.in_flight,
        queue=said.queue,
        kv_percent=None if said.kv_fraction is None else round(100 * said.kv_fraction),
        ttft_ms=None if said.ttft_s is None else round(1000 * said.ttft_s),
    )


class DemandStream:
    """Tells every subscriber at once of a change that matters, and each second all the same."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._readers: set[asyncio.Event] = set()
        self._sequence = 0
        router.cluster.on_demand = self._announce

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/demand", self._stream)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        return app

    def _announce(self) -> None:
        for reader in self._readers:
            reader.set()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        settings = self._router.settings
        if len(self._readers) >= settings.demand_readers_max:
            return web.Response(status=503, text="too many subscribers", headers={"retry-after": "5"})
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            await response.prepare(request)
            while True:
                changed.clear()
                self._sequence += 1
                line = msgspec.json.encode(snapshot(self._router, self._sequence)) + b"\n"
                async with asyncio.timeout(WRITE_S_MAX):
                    await response.write(line)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.demand_period_s):
                        await changed.wait()
        except (TimeoutError, ConnectionError):
            return response
        finally:
            self._readers.discard(changed)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._router.metrics.registry)
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        if self._router.draining:
            return web.Response(status=503, text="draining\n")
        if not self._router.ready():
            return web.Response(status=503, text="reading the cluster\n")
        return web.Response(text="ok\n")
