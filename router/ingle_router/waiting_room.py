"""The waiting room: keeps a request until an engine is awake, then sends it back through Envoy.

Envoy is its only caller, on the word of the picker, and each caller shows the ticket of its place. The request
goes back through Envoy's internal listener, so that one picker picks and counts everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import aiohttp
import orjson
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from ingle_core.routing import Refuse, Serve
from ingle_router import wire
from ingle_router.places import Place
from ingle_router.state import STOPPING, Router

log = logging.getLogger(__name__)

WAITING: Final = b": waiting\n\n"
DONE: Final = b"data: [DONE]\n\n"
ERROR_BYTES_MAX: Final = 64 * 1024

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    )
)
_NOT_SENT_BACK: Final = _HOP_BY_HOP | {"host", "content-length", wire.ENDPOINT, *wire.SECRET_HEADERS}
_NOT_TOLD: Final = _HOP_BY_HOP | {wire.AGAIN}
_BROKEN: Final = Refuse(502, "stream_broken", "The engine ended the answer before its end. Try again.")
_NO_TURN: Final = Refuse(
    429, "no_turn_in_time", "The model is awake, but too many requests were before this one.", 1
)


class WaitingRoom:
    """The HTTP application on the waiting room's port."""

    def __init__(self, router: Router, session: aiohttp.ClientSession) -> None:
        self._router, self._session = router, session
        settings = router.settings
        self._back = f"http://{settings.listen}:{settings.port_gateway_internal}"

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        place = self._router.places.find(request.headers.get(wire.TICKET, ""))
        if place is None:
            refusal = Refuse(403, "no_ticket", "The waiting room answers the gateway only.")
            return _error(refusal)
        try:
            answer = asyncio.create_task(self._obtain(place, request))
            try:
                return await (_streamed if place.stream else _silent)(request, place, answer)
            finally:
                await _let_go(answer)
        finally:
            self._router.close_place(place)

    async def _obtain(self, place: Place, request: web.Request) -> aiohttp.ClientResponse | Refuse:
        """Waits, sends the request back, and waits again where the engine fell asleep or died in between.

        The body is held nowhere else, and no longer than this runs.
        """
        body = await _body(request, place.size_bytes)
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _NOT_SENT_BACK)
        url = URL(self._back + request.raw_path, encoded=True)
        while True:
            refusal = await self._released(place)
            if refusal is not None:
                self._router.refused(place, refusal)
                return refusal
            try:
                answer = await self._session.post(url, headers=headers, data=body, allow_redirects=False)
            except aiohttp.ClientError as error:
                log.warning("the internal listener does not answer: %s", type(error).__name__)
            else:
                if answer.status != 503 or time.monotonic() >= place.until_s:
                    self._router.passed_on(place)
                    return answer
                answer.close()
            self._router.wait(place, place.pool)
            await asyncio.sleep(self._router.settings.again_s)

    async def _released(self, place: Place) -> Refuse | None:
        """Returns when it is the request's turn, or why it must not go on."""
        while place.refusal is None:
            decision = self._router.route(self._router.waiting_request(place))
            if isinstance(decision, Refuse):
                return STOPPING if self._router.draining and decision.status == 503 else decision
            left_s = place.until_s - time.monotonic()
            if isinstance(decision, Serve):
                if place.released and place.pool == decision.pool:
                    return None
                if left_s <= 0:
                    return _NO_TURN
            self._router.wait(place, decision.pool)
            await place.stirred(left_s)
        return place.refusal


Answer = asyncio.Task[aiohttp.ClientResponse | Refuse]


async def _body(request: web.Request, size_bytes: int) -> bytes:
    """As many bytes as the place was taken for; the gateway has counted them."""
    chunks, left = [], size_bytes
    async for chunk in request.content.iter_any():
        left -= len(chunk)
        if left < 0:
            raise web.HTTPRequestEntityTooLarge(max_size=size_bytes, actual_size=size_bytes - left)
        chunks.append(chunk)
    return b"".join(chunks)


async def _let_go(answer: Answer) -> None:
    """The client is served or gone: whatever is still under way for it ends."""
    if not answer.done():
        answer.cancel()
        await asyncio.wait((answer,))
    if not answer.cancelled() and answer.exception() is None:
        result = answer.result()
        if isinstance(result, aiohttp.ClientResponse):
            result.close()


async def _silent(request: web.Request, _: Place, answer: Answer) -> web.StreamResponse:
    """Nothing is said until there is an answer."""
    result = await answer
    if isinstance(result, Refuse):
        return _error(result)
    headers = CIMultiDict((k, v) for k, v in result.headers.items() if k.lower() not in _NOT_TOLD)
    response = web.StreamResponse(status=result.status, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in result.content.iter_any():
            await response.write(chunk)
    except aiohttp.ClientError as error:
        log.info("an engine broke off its answer: %s", type(error).__name__)
        response.force_close()
        if request.transport is not None:
            request.transport.abort()  # the client must not take a part for the whole
        return response
    await response.write_eof()
    return response


async def _streamed(request: web.Request, place: Place, answer: Answer) -> web.StreamResponse:
    """Signs of life at once and at every heartbeat; after that, errors can only be told in-band."""
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    await response.prepare(request)
    await response.write(WAITING)
    while not (await asyncio.wait((answer,), timeout=place.heartbeat_s))[0]:
        await response.write(WAITING)
    result = answer.result()
    if isinstance(result, Refuse):
        await _write_error(response, wire.refused_in_band(result))
    elif result.status != 200:
        await _write_error(response, await _error_in(result))
    else:
        await response.write(f": served by {result.headers.get(wire.SERVED_BY, '')}\n\n".encode())
        try:
            async for chunk in result.content.iter_any():
                await response.write(chunk)
        except aiohttp.ClientError:
            await _write_error(response, wire.error_of(_BROKEN.status, _BROKEN.code, _BROKEN.message))
    await response.write_eof()
    return response


async def _write_error(response: web.StreamResponse, error: dict[str, object]) -> None:
    await response.write(b"\n\ndata: " + orjson.dumps(error) + b"\n\n" + DONE)


async def _error_in(answer: aiohttp.ClientResponse) -> dict[str, object]:
    """The engine's own error where it is one that OpenAI's clients understand."""
    try:
        found = orjson.loads(await answer.content.read(ERROR_BYTES_MAX))
    except (ValueError, aiohttp.ClientError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        return {"error": found["error"]}
    return wire.error_of(answer.status, "engine_error", f"The engine answered {answer.status}.")


def _error(refusal: Refuse) -> web.Response:
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    body = orjson.dumps(wire.error_of(refusal.status, refusal.code, refusal.message))
    return web.Response(status=refusal.status, body=body, content_type="application/json", headers=headers)
