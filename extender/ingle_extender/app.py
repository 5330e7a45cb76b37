"""HTTP of the extender."""

from __future__ import annotations

import logging
import time

import msgspec
import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ingle_extender.extender import Extender
from ingle_extender.wire import BindArgs, BindResult, FilterArgs, FilterResult
from ingle_kit.whatif import Question

log = logging.getLogger(__name__)

JSON = "application/json"
BODY_BYTES_MAX = 16 * 1024 * 1024
NOT_SYNCED = "extender has not read the cluster yet"
_encode = msgspec.json.Encoder().encode
_filter_args = msgspec.json.Decoder(FilterArgs).decode
_question = msgspec.json.Decoder(Question).decode
_bind_args = msgspec.json.Decoder(BindArgs).decode


def make_app(extender: Extender) -> FastAPI:
    """Routes: /filter, /bind, /explain/{namespace}/{pod}, /v1/whatif, /metrics, /healthz."""
    app = FastAPI(title="ingle-extender", openapi_url=None, docs_url=None, redoc_url=None)
    _add_scheduler_routes(app, extender)
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

    return app


def _add_scheduler_routes(app: FastAPI, extender: Extender) -> None:
    """As plain routes: parameters and dependencies, which they do not have, would cost each call some 0.3 ms."""

    async def filter_nodes(request: Request) -> Response:
        start_s = time.perf_counter()
        try:
            args = _filter_args(await _body(request))
        except ValueError as error:
            return _answer(FilterResult([], error=f"filter arguments cannot be read: {error}"))
        if not await extender.wait_synced(extender.settings.filter_deadline_s):
            return _answer(FilterResult([], error=NOT_SYNCED))
        result = extender.filtering.filter(args)
        response = _answer(result)
        outcome = "chosen" if result.node_names else "none"
        extender.metrics.filter_s.labels(outcome).observe(time.perf_counter() - start_s)
        return response

    async def bind(request: Request) -> Response:
        start_s = time.perf_counter()
        try:
            args = _bind_args(await _body(request))
        except ValueError as error:
            return _answer(BindResult(f"bind arguments cannot be read: {error}"))
        if not await extender.wait_synced(extender.settings.filter_deadline_s):
            return _answer(BindResult(NOT_SYNCED))
        error_text = await extender.binding.bind(args)
        outcome = "refused" if error_text else "bound"
        extender.metrics.bind_s.labels(outcome).observe(time.perf_counter() - start_s)
        return _answer(BindResult(error_text))

    app.add_route("/filter", filter_nodes, methods=["POST"])
    app.add_route("/bind", bind, methods=["POST"])


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
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ValueError(f"more than {BODY_BYTES_MAX} bytes: set nodeCacheCapable")
        parts.append(part)
    return b"".join(parts)


def _answer(result: FilterResult | BindResult) -> Response:
    return Response(_encode(result), media_type=JSON)
