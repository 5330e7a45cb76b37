"""The endpoint picker: one ext_proc stream of Envoy is one request from its headers to its last byte."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import grpc

from ingle_core.routing import Caller, Endpoint, Hold, Refuse, Request, Serve
from ingle_core.routing.estimate import prompt_tokens
from ingle_router import wire
from ingle_router.health import PICKER_SERVICE
from ingle_router.identity import Unverified
from ingle_router.models import models_for
from ingle_router.places import Place
from ingle_router.state import STOPPING, Router

log = logging.getLogger(__name__)

_STARTING = Refuse(503, "starting", "The router is still reading the cluster. Try again.", 1)
_UNVERIFIED = Refuse(503, "token_not_verified", "The token cannot be verified now. Try again.", 2)
_OVERLOADED = Refuse(429, "waiting_room_full", "Too many requests wait. Try again later.", 5)
_NOT_FOUND = Refuse(
    404, "not_found", "No such path. Send POST requests to one of: " + ", ".join(sorted(wire.PATHS))
)
_BAD_BODY = Refuse(400, "invalid_body", 'The body must be a JSON object with a string "model".')
_TICKET_OVER = Refuse(503, "hold_over", "The request does not wait any more.", 1)
_FAULT = Refuse(503, "router_fault", "The router failed on this request. Try again.", 1)


@dataclass(slots=True)
class Exchange:
    """What one stream has to remember, and to give back at its end."""

    path: str = ""
    caller: Caller | None = None
    subset: frozenset[str] | None = None
    endpoint: Endpoint | None = None
    place: Place | None = None
    visiting: bool = False  # the place is the first stream's, this one came from the waiting room
    served_by: str = ""
    answered: bool = False


class Picker:
    """The service `envoy.service.ext_proc.v3.ExternalProcessor`."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._open = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def handler(self) -> grpc.GenericRpcHandler:
        process = grpc.stream_stream_rpc_method_handler(
            self._process, request_deserializer=wire.parse_request
        )
        return grpc.method_handlers_generic_handler(PICKER_SERVICE, {"Process": process})

    async def _process(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        """Reads and writes by hand: a generator could be left hanging at its yield, and its count with it."""
        exchange = Exchange()
        self._open += 1
        self.idle.clear()
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                answer = await self._answer(exchange, message)
                del message  # it may hold a body of megabytes, and the next one may be an hour away
                await context.write(answer)
                del answer
        finally:
            self._end(exchange)
            self._open -= 1
            if not self._open:
                self.idle.set()

    async def _answer(self, exchange: Exchange, message: Any) -> bytes:
        kind = message.WhichOneof("request")
        try:
            if kind == "request_headers":
                return await self._on_headers(exchange, message)
            if kind == "request_body":
                return self._on_body(exchange, message.request_body.body)
            if kind == "response_headers":
                return self._on_response(exchange, message)
            return wire.CONTINUE_TRAILERS
        except Exception as error:
            # The message of the error may quote the request, so only its type is told.
            self._router.metrics.faults.labels(type(error).__name__).inc()
            log.error("picker failed at %s: %s", kind, type(error).__name__)
            return self._refuse(exchange, _FAULT)

    async def _on_headers(self, exchange: Exchange, message: Any) -> bytes:
        headers = wire.read_headers(message.request_headers)
        exchange.path = headers.get(":path", "").partition("?")[0]
        exchange.subset = wire.read_subset(message, headers, self._router.settings.conformance)
        if not self._router.ready():
            return self._refuse(exchange, _STARTING)
        ticket = headers.get(wire.TICKET)
        if ticket is not None:
            return self._on_ticket(exchange, ticket)
        method = headers.get(":method", "")
        listing = method == "GET" and (exchange.path + "/").startswith("/v1/models/")
        if not listing and (method != "POST" or exchange.path not in wire.PATHS):
            return self._refuse(exchange, _NOT_FOUND)
        try:
            exchange.caller = await self._router.identity.caller(headers.get("authorization", ""))
        except Unverified:
            return self._refuse(exchange, _UNVERIFIED)
        if exchange.caller is None:
            return self._decide(exchange, Request(None, "", exchange.path), b"", False)
        if listing:
            return self._list(exchange, exchange.caller)
        if message.request_headers.end_of_stream:
            return self._refuse(exchange, _BAD_BODY)
        return wire.CONTINUE_REQUEST

    def _on_ticket(self, exchange: Exchange, ticket: str) -> bytes:
        exchange.place = self._router.places.find(ticket)
        exchange.visiting = True
        return self._refuse(exchange, _TICKET_OVER) if exchange.place is None else wire.CONTINUE_REQUEST

    def _list(self, exchange: Exchange, caller: Caller) -> bytes:
        models = models_for(caller, self._router.cluster.directory)
        name = exchange.path.removeprefix("/v1/models").lstrip("/")
        exchange.answered = True
        if not name:
            return wire.reply(200, models, {})
        found = next((row for row in models["data"] if row["id"] == name), None)
        if found is None:
            return self._refuse(
                exchange, Refuse(404, "model_not_found", f"The model {name[:200]!r} does not exist.")
            )
        return wire.reply(200, found, {})

    def _on_body(self, exchange: Exchange, body: bytes) -> bytes:
        started_s = time.perf_counter()
        place = exchange.place
        if place is not None:
            request = self._router.waiting_request(place)
            answer = self._decide(exchange, request, body, place.stream)
        else:
            try:
                asked = wire.asked_of(body)
            except ValueError:
                return self._refuse(exchange, _BAD_BODY)
            request = Request(
                exchange.caller, asked.model, exchange.path, prompt_tokens(body), exchange.subset
            )
            self._router.arrived(request.model)
            answer = self._decide(exchange, request, body, bool(asked.stream))
        self._router.metrics.pick_s.observe(time.perf_counter() - started_s)
        return answer

    def _decide(self, exchange: Exchange, request: Request, body: bytes, stream: bool) -> bytes:
        decision = self._router.route(request)
        if isinstance(decision, Serve):
            return self._serve(exchange, request, decision, body)
        if isinstance(decision, Hold):
            return self._hold(exchange, request, decision, len(body), stream)
        return self._refuse(exchange, decision)

    def _serve(self, exchange: Exchange, request: Request, serve: Serve, body: bytes) -> bytes:
        router = self._router
        exchange.endpoint, exchange.served_by = serve.endpoint, serve.pool
        router.cluster.take(serve.endpoint)
        router.served(exchange.place, request, serve)
        rewritten = None if serve.rewrite_model is None else wire.with_model(body, serve.rewrite_model)
        return wire.send_to(serve.endpoint.address, rewritten)

    def _hold(self, exchange: Exchange, request: Request, hold: Hold, size_bytes: int, stream: bool) -> bytes:
        if exchange.visiting:
            exchange.answered = True
            return wire.refuse(_TICKET_OVER, {wire.AGAIN: "1"})
        if self._router.draining:
            return self._refuse(exchange, STOPPING)
        place = self._router.take_place(request, hold, size_bytes, stream)
        if place is None:
            return self._refuse(exchange, _OVERLOADED)
        exchange.place = place
        return wire.send_to(self._router.waiting_room, None, place.ticket)

    def _refuse(self, exchange: Exchange, refusal: Refuse) -> bytes:
        exchange.answered = True
        self._router.refused(exchange.place if exchange.visiting else None, refusal)
        return wire.refuse(refusal)

    def _on_response(self, exchange: Exchange, message: Any) -> bytes:
        headers = wire.read_headers(message.response_headers)
        status = headers.get(":status", "")
        pairs: dict[str, str] = {}
        if exchange.endpoint is not None and not exchange.answered:
            exchange.answered = True
            self._router.answered(exchange.endpoint, status)
            pairs[wire.SERVED_BY] = exchange.served_by
        if status in ("429", "503") and "retry-after" not in headers:
            pairs["retry-after"] = "1"
        served = wire.read_served(message) if self._router.settings.conformance else ""
        if served:
            pairs[wire.TEST_SERVED] = served
        return wire.response_headers(pairs)

    def _end(self, exchange: Exchange) -> None:
        """Gives back, once, whatever the stream holds: Envoy ends it with the response or the client."""
        if exchange.endpoint is not None:
            self._router.cluster.release(exchange.endpoint)
            exchange.endpoint = None
        if exchange.place is not None and not exchange.visiting:
            self._router.close_place(exchange.place)
