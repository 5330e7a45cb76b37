"""A small engine for the router's tests."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from aiohttp import web


class Engine:
    """Speaks enough of vLLM: records what reaches it, answers when told to."""

    def __init__(self, address: str, uid: str) -> None:
        self.address, self.uid = address, uid
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.answer = asyncio.Event()
        self.answer.set()
        self.asleep = False
        self.said: tuple[str, ...] = ()  # more lines of its metrics
        self.open = self.open_max = 0
        self.broken_off = 0
        self.dies = 0  # so many requests are cut off without an answer, streams after their first event

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _metrics(self, _: web.Request) -> web.Response:
        awake, asleep = ("0.0", "1.0") if self.asleep else ("1.0", "0.0")
        lines = (
            f'vllm:engine_sleep_state{{engine="0",sleep_state="awake"}} {awake}',
            f'vllm:engine_sleep_state{{engine="0",sleep_state="weights_offloaded"}} {asleep}',
        )
        return web.Response(text="\n".join((*lines, *self.said)) + "\n")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((request.path, {k.lower(): v for k, v in request.headers.items()}, body))
        if self.status != 200:
            return web.json_response({"error": {"message": "no", "code": "engine"}}, status=self.status)
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            if body.get("half"):
                return await self._half(request)
            if self.dies and not body.get("stream"):
                return self._die(request)
            if not body.get("stream"):
                await self.answer.wait()
                return web.json_response({"model": body["model"], "engine": self.uid})
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"n": 0}\n\n')
            await self.answer.wait()
            if self.dies:
                return self._die(request)
            await response.write(b'data: {"n": 1}\n\ndata: [DONE]\n\n')
            return response
        except (asyncio.CancelledError, ConnectionError):
            self.broken_off += 1
            raise
        finally:
            self.open -= 1

    async def _half(self, request: web.Request) -> NoReturn:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        await self.answer.wait()
        self._die(request)

    def _die(self, request: web.Request) -> NoReturn:
        self.dies -= 1
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError
