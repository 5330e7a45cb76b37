"""HTTP of the extender."""

from __future__ import annotations

import msgspec
import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from ingle_extender.calls import JSON, NOT_SYNCED, SchedulerCalls, body_of
from ingle_extender.extender import Extender
from ingle_kit.whatif import Question

_encode = msgspec.json.Encoder().encode
_question = msgspec.json.Decoder(Question).decode


def make_app(extender: Extender) -> ASGIApp:
    """Routes: /filter, /bind, /explain/{namespace}/{pod}, /v1/whatif, /metrics, /healthz."""
    app = FastAPI(title="ingle-extender", openapi_url=None, docs_url=None, redoc_url=None)
    _add_whatif_routes(app, extender)

    @app.get("/explain/{namespace}/{pod}")
    async def explain(namespace: str, pod: str) -> Response:
        answer = extender.explain(namespace, pod)
        if answer is None:
            answer = {"error": f"no pod {namespace}/{pod} with the label ingle.dev/pool"}
            return Response(orjson.dumps(answer), 404, media_type=JSON)
        return Response(orjson.dumps(answer), media_type=JSON)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(extender.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n") if extender.synced else Response(f"{NOT_SYNCED}\n", 503)

    return SchedulerCalls(extender, others=app)


def _add_whatif_routes(app: FastAPI, extender: Extender) -> None:
    """The same question as a body, or as the query `q`: reading through the API server needs no right to write."""

    @app.post("/v1/whatif")
    async def whatif(request: Request) -> Response:
        try:
            return await answered(await _body(request))
        except ValueError as error:
            return _error(400, str(error))

    @app.get("/v1/whatif")
    async def whatif_read(q: str) -> Response:
        return await answered(q)

    async def answered(text: str | bytes) -> Response:
        if not await extender.wait_synced(extender.settings.filter_deadline_s):
            return _error(503, NOT_SYNCED)
        try:
            question = _question(text)
        except ValueError as error:
            return _error(400, f"question cannot be read: {error}")
        return Response(_encode(extender.whatif(question)), media_type=JSON)


def _error(status: int, text: str) -> Response:
    return Response(_encode({"error": text}), status, media_type=JSON)


async def _body(request: Request) -> bytes:
    return await body_of(request.receive)
