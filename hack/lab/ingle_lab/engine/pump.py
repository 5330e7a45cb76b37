"""Drives a batch by the clock of the event loop and hands its tokens to who waits for them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ingle_lab.engine.batch import Batch, Sequence
from ingle_lab.engine.metrics import Counters

TICK_S = (
    0.02  # real seconds between two writes to a stream: at a small time scale one write takes many tokens
)


class AbortedError(Exception):
    """The engine gave the request up; the message says why."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in the engine. `done` gets a result when all its tokens exist, or AbortedError."""

    sequence: Sequence
    done: "asyncio.Future[None]"
    arrived_at_s: float
    on_tokens: Callable[[int], None] | None = None  # called with the number of tokens made so far
    counted_tokens: int = 0


@dataclass(eq=False)
class Pump:
    """The one place where a batch meets real time. `on_running` hears how many sequences run when it changes."""

    batch: Batch
    time_scale: float
    counters: Counters
    on_running: Callable[[int], None]
    _tickets: dict[Sequence, Ticket] = field(default_factory=dict)
    _timer: asyncio.TimerHandle | None = None
    _running: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._zero_at_s = self._loop.time()
        self._stopped_at_s: float | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def submit(self, sequence: Sequence, on_tokens: Callable[[int], None] | None = None) -> Ticket:
        """Take a request; it starts when there is room."""
        ticket = Ticket(sequence, self._loop.create_future(), self._loop.time(), on_tokens)
        self._tickets[sequence] = ticket
        self._empty.clear()
        self._settle(self.batch.add(sequence, self._now_s()))
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Give its place to others; nothing happens when it has ended."""
        if self._tickets.pop(ticket.sequence, None) is not None:
            self._settle(self.batch.remove(ticket.sequence, self._now_s()))

    def abort_all(self, why: str) -> None:
        for ticket in list(self._tickets.values()):
            self.drop(ticket)
            if not ticket.done.done():
                ticket.done.set_exception(AbortedError(why))
                ticket.done.exception()  # whoever waited may be gone: that is not worth a warning

    def pause(self) -> None:
        """Everything waits, and what ran has to read its prompt and its own text again."""
        self._settle(self.batch.pause(self._now_s()))

    def resume(self) -> None:
        self.batch.resume(self._now_s())
        self._settle([])

    def slow_down(self, factor: float) -> None:
        ended = self.batch.advance(self._now_s())
        self.batch.slowdown = factor
        self._settle(ended)

    async def drained(self) -> None:
        """Returns when no request is left."""
        await self._empty.wait()

    def stop_clock(self) -> None:
        if self._stopped_at_s is None:
            self._stopped_at_s = self._loop.time()

    def start_clock(self) -> None:
        """The time since `stop_clock` did not happen."""
        if self._stopped_at_s is not None:
            self._zero_at_s += self._loop.time() - self._stopped_at_s
            self._stopped_at_s = None
            self.turn()

    def turn(self) -> None:
        """Bring everything up to now: futures, streams, counters, and when to look again."""
        self._settle(self.batch.advance(self._now_s()))

    def _now_s(self) -> float:
        at_s = self._loop.time() if self._stopped_at_s is None else self._stopped_at_s
        return (at_s - self._zero_at_s) / self.time_scale

    def _settle(self, ended: list[Sequence]) -> None:
        for sequence in ended:
            if (ticket := self._tickets.pop(sequence, None)) is not None:
                self._count(ticket)
                if not ticket.done.done():
                    ticket.done.set_result(None)
        streaming = False
        for sequence in self.batch.decoding:
            if (ticket := self._tickets.get(sequence)) is not None:
                self._count(ticket)
                streaming = streaming or ticket.on_tokens is not None
        if not self._tickets:
            self._empty.set()
        if self._running != self.batch.running_count:
            self._running = self.batch.running_count
            self.on_running(self._running)
        self._set_timer(streaming)

    def _count(self, ticket: Ticket) -> None:
        made = self.batch.made_tokens(ticket.sequence)
        if made <= ticket.counted_tokens:
            return
        if ticket.counted_tokens == 0:
            self.counters.prompt_tokens += ticket.sequence.prompt_tokens
            self.counters.first_token.observe(self._loop.time() - ticket.arrived_at_s)
        self.counters.generation_tokens += made - ticket.counted_tokens
        ticket.counted_tokens = made
        if ticket.on_tokens is not None:
            ticket.on_tokens(made)

    def _set_timer(self, streaming: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_s = self.batch.next_event_s()
        if next_s is None or self._stopped_at_s is not None:
            return
        at_s = self._zero_at_s + next_s * self.time_scale
        if streaming:
            at_s = min(at_s, self._loop.time() + TICK_S)
        self._timer = self._loop.call_at(at_s, self.turn)
