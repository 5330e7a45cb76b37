"""A small HTTP/1.1 server on asyncio: requests whole, answers whole or streamed, a handler ends with its client.

A full framework costs more start-up time and memory per process than the stand-in itself; a lab starts dozens.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import httptools

BODY_BYTES_MAX = 32 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
PIPELINED_MAX = 16


@dataclass(slots=True)
class Request:
    """One request, its body read whole; header names in lower case."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    chunked_answer: bool = True


class Reply:
    """The way back to the client: `send` once, or `start`, `write` any number of times, `end`."""

    def __init__(self, transport: asyncio.Transport, request: Request) -> None:
        self._transport = transport
        self._chunked = request.chunked_answer
        self.keep_alive = request.keep_alive
        self.started = False
        self.writable = True  # False while the client reads too slowly

    def send(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.started = True
        head = self._head(status, content_type, f"content-length: {len(body)}")
        self._transport.write(head + body)

    def start(self, content_type: str) -> None:
        self.started = True
        if not self._chunked:
            self.keep_alive = False
        framing = "transfer-encoding: chunked" if self._chunked else "cache-control: no-cache"
        self._transport.write(self._head(200, content_type, framing))

    def write(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")

    def _head(self, status: int, content_type: str, framing: str) -> bytes:
        close = "" if self.keep_alive else "connection: close\r\n"
        reason = HTTPStatus(status).phrase
        lines = f"HTTP/1.1 {status} {reason}\r\nserver: uvicorn\r\ncontent-type: {content_type}\r\n"
        return f"{lines}{framing}\r\n{close}\r\n".encode("latin-1")


Handler = Callable[[Request, Reply], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection. Answers in the order of the requests; closes when idle for `keep_alive_s`."""

    def __init__(self, handler: Handler, open_connections: set["Connection"], keep_alive_s: float) -> None:
        self._handler = handler
        self._open = open_connections
        self._keep_alive_s = keep_alive_s
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._url = b""
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._idle: asyncio.TimerHandle | None = None

    # asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)
        self._wait_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._stop_idle()
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrade is not supported")
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _TooLargeError):
                self._refuse(cause.status, str(cause))
            else:
                self._refuse(400, f"not HTTP/1.1: {error}")

    def pause_writing(self) -> None:
        if self._reply is not None:
            self._reply.writable = False

    def resume_writing(self) -> None:
        if self._reply is not None:
            self._reply.writable = True

    # the parser's side
    def on_message_begin(self) -> None:
        self._request, self._url, self._header_bytes = Request(), b"", 0
        self._body, self._body_bytes = [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        request, url = self._request, httptools.parse_url(self._url)
        request.method = self._parser.get_method().decode("latin-1")
        request.path = (url.path or b"/").decode("latin-1")
        request.query = (url.query or b"").decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.chunked_answer = self._parser.get_http_version() == "1.1"
        if request.headers.get("expect", "").lower() == "100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > BODY_BYTES_MAX:
            raise _TooLargeError(413, f"a body may have {BODY_BYTES_MAX} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._request.body = b"".join(self._body)
        self._body = []
        self._stop_idle()
        if self._task is None:
            self._serve(self._request)
        elif len(self._queue) < PIPELINED_MAX:
            self._queue.append(self._request)
        else:
            raise _TooLargeError(503, f"at most {PIPELINED_MAX} requests may wait on one connection")

    # ours
    def close(self) -> None:
        self._transport.close()

    def close_if_idle(self) -> None:
        if self._task is None:
            self._transport.close()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES_MAX:
            raise _TooLargeError(431, f"a request's head may have {HEADER_BYTES_MAX} bytes")

    def _refuse(self, status: int, why: str) -> None:
        if self._task is None:  # else an answer is on its way and a second would be read as part of it
            Reply(self._transport, Request(keep_alive=False)).send(status, f"{why}\n".encode(), "text/plain")
        self._transport.close()

    def _serve(self, request: Request) -> None:
        self._reply = Reply(self._transport, request)
        self._task = asyncio.get_running_loop().create_task(self._handle(request, self._reply))

    async def _handle(self, request: Request, reply: Reply) -> None:
        try:
            await self._handler(request, reply)
        except Exception:
            reply.keep_alive = False
            if not reply.started:
                reply.send(500, b'{"error":{"message":"internal error","type":"InternalServerError"}}')
            self._transport.close()
            raise
        finally:
            self._task = self._reply = None
        if not reply.keep_alive:
            self._transport.close()
        elif self._queue:
            self._serve(self._queue.popleft())
        else:
            self._wait_idle()

    def _wait_idle(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(self._keep_alive_s, self.close_if_idle)

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _TooLargeError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
