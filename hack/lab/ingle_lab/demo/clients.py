"""A client as a user would write it: chat completions over HTTP, streaming, with everything it saw."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

REQUEST_LIMIT_S = 180.0
SERVED_BY = b": served by "
LINE_BYTES_MAX = 4 * 1024 * 1024


@dataclass
class Answer:
    """One request's outcome. Seconds from sending; `comments` counts SSE comments; `fault` empty: it was whole."""

    model: str
    status: int = 0
    first_token_s: float = 0.0
    total_s: float = 0.0
    comments: int = 0
    tokens: int = 0
    served_by: str = ""
    fault: str = ""
    message: str = ""
    sent_at_s: float = field(default_factory=time.time)

    @property
    def good(self) -> bool:
        return self.status == 200 and not self.fault


@dataclass(frozen=True)
class Client:
    """One caller: the gateway's URL and a bearer token."""

    session: aiohttp.ClientSession
    url: str
    token: str

    async def ask(
        self, model: str, *, tokens: int = 16, prompt_tokens: int | None = None, text: str = "hello"
    ) -> Answer:
        """A streaming chat request for exactly `tokens` tokens. Never raises for what the server does."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt_tokens is not None:
            body["lab_prompt_tokens"] = prompt_tokens
        answer = Answer(model)
        started_s = time.monotonic()
        try:
            await self._stream(body, answer, started_s)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer.fault = f"{type(error).__name__}: {error}"
        answer.total_s = time.monotonic() - started_s
        return answer

    async def _stream(self, body: dict[str, Any], answer: Answer, started_s: float) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        limit = aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)
        url = f"{self.url}/v1/chat/completions"
        async with self.session.post(
            url, json=body, headers=headers, timeout=limit, read_bufsize=LINE_BYTES_MAX
        ) as reply:
            answer.status = reply.status
            answer.served_by = reply.headers.get("x-ingle-served-by", "")
            if reply.status != 200:
                answer.message = _message(await reply.read())
                answer.fault = f"status {reply.status}" if reply.status >= 500 else ""
                return
            ended = False
            async for line in reply.content:
                ended = _take(line.strip(), answer, started_s) or ended
            if not ended and not answer.fault:
                answer.fault = "the stream had no end"


def _take(line: bytes, answer: Answer, started_s: float) -> bool:
    """Counts one line; True for the end of the stream."""
    if line.startswith(SERVED_BY):
        answer.served_by = line[len(SERVED_BY) :].decode()
    elif line.startswith(b":"):
        answer.comments += 1
    if not line.startswith(b"data: "):
        return False
    if line == b"data: [DONE]":
        return True
    event = msgspec.json.decode(line[6:])
    if "error" in event:
        answer.fault = answer.message = str(event["error"].get("message", "error in the stream"))
        return False
    if event.get("usage"):
        answer.tokens = int(event["usage"].get("completion_tokens", 0))
    if any((choice.get("delta") or {}).get("content") for choice in event.get("choices") or ()):
        answer.first_token_s = answer.first_token_s or time.monotonic() - started_s
    return False


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
