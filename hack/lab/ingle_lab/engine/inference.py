"""The two endpoints that need the model."""

from ingle_lab.engine.batch import Sequence
from ingle_lab.engine.http import Reply, Request
from ingle_lab.engine.life import Life, State
from ingle_lab.engine.metrics import Counters
from ingle_lab.engine.pump import AbortedError
from ingle_lab.engine.wire import ApiError, Ask, Chunks, read_ask, whole_answer

_EVENT_STREAM = "text/event-stream; charset=utf-8"


class Inference:
    """Answers /v1/chat/completions and /v1/completions; gives a request's place up when its client goes away."""

    def __init__(self, life: Life, counters: Counters, served: tuple[str, ...], context_tokens: int) -> None:
        self._life, self._counters = life, counters
        self._served, self._context_tokens = served, context_tokens
        self.stopping = False

    async def chat(self, request: Request, reply: Reply) -> None:
        await self._answer(request, reply, chat=True)

    async def complete(self, request: Request, reply: Reply) -> None:
        await self._answer(request, reply, chat=False)

    async def _answer(self, request: Request, reply: Reply, *, chat: bool) -> None:
        self._check_awake()
        ask = read_ask(
            request.body, request.headers, chat=chat, served=self._served, context_tokens=self._context_tokens
        )
        finish = "abort"
        if not self._life.weights_good:  # a real engine answers too, and talks nonsense
            self._counters.without_weights += 1
        try:
            await (self._stream(ask, reply) if ask.stream else self._whole(ask, reply))
            finish = ask.finish_reason
        except AbortedError as error:
            refusal = ApiError(503, "ServiceUnavailableError", f"The request was aborted: {error}.")
            if not reply.started:
                raise refusal from None
            reply.write(Chunks.failed(refusal))
            reply.end()
        finally:
            self._counters.finished[finish] += 1

    def _check_awake(self) -> None:
        if self.stopping:
            raise ApiError(503, "ServiceUnavailableError", "The server is shutting down.")
        state = self._life.state
        if state is not State.AWAKE:
            self._counters.refused_while_asleep += 1
            raise ApiError(
                503,
                "ServiceUnavailableError",
                f"The model is {state.value}: wake it with POST /wake_up first.",
            )

    async def _whole(self, ask: Ask, reply: Reply) -> None:
        ticket = self._life.pump.submit(Sequence(ask.prompt_tokens, ask.output_tokens))
        try:
            await ticket.done
        finally:
            self._life.pump.drop(ticket)
        reply.send(200, whole_answer(ask))

    async def _stream(self, ask: Ask, reply: Reply) -> None:
        chunks, written = Chunks(ask), 0
        reply.start(_EVENT_STREAM)

        def write_to(made: int) -> None:
            nonlocal written
            before = chunks.first() if written == 0 else b""
            reply.write(before + chunks.text(written, made))
            written = made

        def on_tokens(made: int) -> None:
            if reply.writable:  # a slow reader gets the rest in one piece, nothing piles up here
                write_to(made)

        ticket = self._life.pump.submit(Sequence(ask.prompt_tokens, ask.output_tokens), on_tokens)
        try:
            await ticket.done
        finally:
            self._life.pump.drop(ticket)
        if written < ask.output_tokens:
            write_to(ask.output_tokens)
        reply.write(chunks.end())
        reply.end()
