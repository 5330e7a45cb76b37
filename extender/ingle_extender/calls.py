"""kube-scheduler's two calls, /filter and /bind: answered ahead of FastAPI, whose layers cost each some 0.1 ms."""

from __future__ import annotations

import time

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from ingle_extender.extender import Extender
from ingle_extender.wire import BindArgs, BindResult, FilterArgs, FilterResult

JSON = "application/json"
BODY_BYTES_MAX = 16 * 1024 * 1024
NOT_SYNCED = "extender has not read the cluster yet"
_encode = msgspec.json.Encoder().encode
_filter_args = msgspec.json.Decoder(FilterArgs).decode
_bind_args = msgspec.json.Decoder(BindArgs).decode


class SchedulerCalls:
    """An ASGI application: these two calls; all else goes to `others`."""

    def __init__(self, extender: Extender, others: ASGIApp) -> None:
        self._extender, self._others = extender, others
        self._deadline_s = extender.settings.filter_deadline_s
        self._calls = {"/filter": self._filter, "/bind": self._bind}
        filter_s, bind_s = extender.metrics.filter_s, extender.metrics.bind_s
        self._filter_s = {outcome: filter_s.labels(outcome) for outcome in ("chosen", "none")}
        self._bind_s = {outcome: bind_s.labels(outcome) for outcome in ("bound", "refused")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = None
        if scope["type"] == "http" and scope["method"] == "POST":
            call = self._calls.get(scope["path"])
        if call is None:
            await self._others(scope, receive, send)
            return
        text = _encode(await call(receive))
        headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def _filter(self, receive: Receive) -> FilterResult:
        start_s = time.perf_counter()
        try:
            args = _filter_args(await body_of(receive))
        except ValueError as error:
            return FilterResult([], error=f"filter arguments cannot be read: {error}")
        if not await self._extender.wait_synced(self._deadline_s):
            return FilterResult([], error=NOT_SYNCED)
        result = self._extender.filtering.filter(args)
        self._filter_s["chosen" if result.node_names else "none"].observe(time.perf_counter() - start_s)
        return result

    async def _bind(self, receive: Receive) -> BindResult:
        start_s = time.perf_counter()
        try:
            args = _bind_args(await body_of(receive))
        except ValueError as error:
            return BindResult(f"bind arguments cannot be read: {error}")
        if not await self._extender.wait_synced(self._deadline_s):
            return BindResult(NOT_SYNCED)
        error_text = await self._extender.binding.bind(args)
        self._bind_s["refused" if error_text else "bound"].observe(time.perf_counter() - start_s)
        return BindResult(error_text)


async def body_of(receive: Receive) -> bytes:
    """The whole body of a request. ValueError: it is too large, or the caller has gone."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ValueError("the caller has gone")
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ValueError(f"more than {BODY_BYTES_MAX} bytes: set nodeCacheCapable")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
