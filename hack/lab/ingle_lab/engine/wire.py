"""OpenAI's JSON as vLLM speaks it: requests in, answers, chunks and errors out."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ingle_lab.engine import words

_encode = msgspec.json.encode


class ApiError(Exception):
    """An answer in OpenAI's error form."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.param = status, kind, message, param

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return _encode({"error": error})


def bad_request(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, "BadRequestError", message, param)


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Body(msgspec.Struct, kw_only=True):
    """What both endpoints share; `lab_prompt_tokens` stands for the true size of a prompt in a replayed trace."""

    model: str = ""
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int | None = 1
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    lab_prompt_tokens: int | None = None


class ChatBody(_Body, kw_only=True):
    messages: list[Message]
    max_completion_tokens: int | None = None


class CompletionBody(_Body, kw_only=True):
    prompt: str | list[str | int]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, checked: `output_tokens` will be made and end by `finish_reason`."""

    id: str
    chat: bool
    model: str
    stream: bool
    include_usage: bool
    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    start: int  # of its words
    created: int

    def usage(self, made: int) -> dict[str, int]:
        total = self.prompt_tokens + made
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": total, "completion_tokens": made}


def read_ask(
    body: bytes, headers: Mapping[str, str], *, chat: bool, served: tuple[str, ...], context_tokens: int
) -> Ask:
    """Parse and check a request. Raises ApiError: 400 for a bad one, 404 for an unknown model."""
    parsed = _parsed(body, chat=chat)
    model = parsed.model or served[0]
    if model not in served:
        raise ApiError(404, "NotFoundError", f"The model `{model}` does not exist.", "model")
    if parsed.n not in (None, 1):
        raise bad_request("this stand-in makes one choice: n must be 1", "n")
    prompt, estimate = _prompt(parsed)
    prompt_tokens = _exact_tokens(parsed, headers) or estimate
    limit = _output_limit(parsed, prompt_tokens, context_tokens)
    start = words.start_of(parsed.seed, prompt)
    natural = max(words.natural_tokens(start), parsed.min_tokens)
    cut = parsed.ignore_eos or natural >= limit
    return Ask(
        id=("chatcmpl-" if chat else "cmpl-") + (headers.get("x-request-id") or uuid.uuid4().hex),
        chat=chat,
        model=model,
        stream=bool(parsed.stream),
        include_usage=parsed.stream_options is not None and parsed.stream_options.include_usage,
        prompt_tokens=prompt_tokens,
        output_tokens=limit if cut else natural,
        finish_reason="length" if cut else "stop",
        start=start,
        created=int(time.time()),
    )


def _parsed(body: bytes, *, chat: bool) -> ChatBody | CompletionBody:
    try:
        return (
            msgspec.json.decode(body, type=ChatBody)
            if chat
            else msgspec.json.decode(body, type=CompletionBody)
        )
    except msgspec.ValidationError as error:
        raise bad_request(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"JSON decode error: {error}") from None


def _prompt(parsed: ChatBody | CompletionBody) -> tuple[str, int]:
    """Its text and about how many tokens it has."""
    if isinstance(parsed, ChatBody):
        if not parsed.messages:
            raise bad_request("messages must not be empty", "messages")
        text = "\n".join(f"{message.role}: {message.text()}" for message in parsed.messages)
        return text, words.estimated_tokens(text)
    if isinstance(parsed.prompt, str):
        return parsed.prompt, words.estimated_tokens(parsed.prompt)
    if parsed.prompt and all(isinstance(token, int) for token in parsed.prompt):
        return str(parsed.prompt), len(parsed.prompt)
    if len(parsed.prompt) == 1:
        return str(parsed.prompt[0]), words.estimated_tokens(str(parsed.prompt[0]))
    raise bad_request("this stand-in takes one prompt: a string, or a list of token ids", "prompt")


def _exact_tokens(parsed: ChatBody | CompletionBody, headers: Mapping[str, str]) -> int | None:
    header = headers.get("x-lab-prompt-tokens", "")
    tokens = int(header) if header.isdecimal() else parsed.lab_prompt_tokens
    if tokens is not None and tokens < 1:
        raise bad_request("lab_prompt_tokens must be at least 1", "lab_prompt_tokens")
    return tokens


def _output_limit(parsed: ChatBody | CompletionBody, prompt_tokens: int, context_tokens: int) -> int:
    room = context_tokens - prompt_tokens
    if room < 1:
        raise bad_request(
            f"This model's maximum context length is {context_tokens} tokens. However, your request has "
            f"{prompt_tokens} input tokens. Please reduce the length of the input messages."
        )
    asked = parsed.max_tokens
    if isinstance(parsed, ChatBody):
        asked = parsed.max_completion_tokens or asked
    elif asked is None:
        asked = min(16, room)
    if asked is not None and asked < 1:
        raise bad_request(f"max_tokens must be at least 1, got {asked}.", "max_tokens")
    if asked is not None and asked > room:
        raise bad_request(
            f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context "
            f"length is {context_tokens} tokens and your request has {prompt_tokens} input tokens "
            f"({asked} > {context_tokens} - {prompt_tokens}).",
            "max_tokens",
        )
    return asked or room


def whole_answer(ask: Ask) -> bytes:
    """The answer to a request that is not streamed."""
    text = words.text(ask.start, 0, ask.output_tokens)
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": ask.finish_reason}
    choice |= {"message": {"role": "assistant", "content": text}} if ask.chat else {"text": text}
    return _encode(_envelope(ask, [choice], streamed=False) | {"usage": ask.usage(ask.output_tokens)})


class Chunks:
    """The server-sent events of one answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        # Words need no escaping, so all chunks with text share what stands before and after it.
        mark = "\0"
        before, after = self._chunk(mark, None).split(_encode(mark)[1:-1])
        self._before, self._after = before, after

    def first(self) -> bytes:
        """What comes before any text: in a chat the role."""
        return self._event({"role": "assistant", "content": ""}) if self._ask.chat else b""

    def text(self, first: int, last: int) -> bytes:
        """One event with the tokens `first` to `last` - 1."""
        return self._before + words.text(self._ask.start, first, last).encode() + self._after

    def end(self) -> bytes:
        """Why it ended, the usage if asked for, and [DONE]."""
        usage = b""
        if self._ask.include_usage:
            body = _envelope(self._ask, [], streamed=True) | {
                "usage": self._ask.usage(self._ask.output_tokens)
            }
            usage = _sse(body)
        return self._chunk("", self._ask.finish_reason) + usage + b"data: [DONE]\n\n"

    @staticmethod
    def failed(error: ApiError) -> bytes:
        """An error after the answer has begun."""
        return b"data: " + error.body() + b"\n\ndata: [DONE]\n\n"

    def _chunk(self, text: str, finish_reason: str | None) -> bytes:
        if self._ask.chat:
            return self._event({"content": text}, finish_reason)
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return _sse(_envelope(self._ask, [choice], streamed=True))

    def _event(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _sse(_envelope(self._ask, [choice], streamed=True))


def _envelope(ask: Ask, choices: list[dict[str, Any]], *, streamed: bool) -> dict[str, Any]:
    kind = "text_completion" if not ask.chat else "chat.completion.chunk" if streamed else "chat.completion"
    return {"id": ask.id, "object": kind, "created": ask.created, "model": ask.model, "choices": choices}


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"
