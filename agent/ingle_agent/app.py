"""The agent's HTTP surface."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from ingle_agent.hub import Hub, TooManyReaders

NDJSON = "application/x-ndjson"


def make_app(
    hub: Hub, registry: CollectorRegistry, *, deadline_s: float, closing: Callable[[], bool]
) -> FastAPI:
    """`deadline_s`: /healthz fails when the last reading is older. `closing`: streams end when it says so."""
    app = FastAPI(title="ingle-agent", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/v1/measurements")
    async def measurements() -> Response:
        try:
            return StreamingResponse(hub.reader(closing), media_type=NDJSON)
        except TooManyReaders:
            return PlainTextResponse("too many readers of this stream\n", 503, {"Retry-After": "5"})

    @app.get("/healthz")
    async def healthz() -> Response:
        age_s = hub.reading_age_s()
        if age_s > deadline_s:
            return PlainTextResponse(f"no reading of the GPUs for {age_s:.0f} s\n", 503)
        return PlainTextResponse("ok\n")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_1_0_0)

    return app
