"""Continuous batching as arithmetic: prefills one after another, decodes side by side.

All sequences that decode advance at the same rate, so one counter of decoded tokens serves all of them and the
cost of a step does not depend on how many tokens it makes. Time is an argument, in seconds of the profile.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from itertools import count

_ROUNDING = 1e-5  # tokens, and a tenth of it in seconds: what floating-point sums may be off by


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a batch runs; one token takes `decode_base_s + decode_per_seq_s * sequences` in decode."""

    prefill_tokens_per_s: float
    prefill_overhead_s: float
    decode_base_s: float
    decode_per_seq_s: float


@dataclass(eq=False, slots=True)
class Sequence:
    """One request in the engine: `output_tokens` >= 1 will be made after `prompt_tokens` were read."""

    prompt_tokens: int
    output_tokens: int
    prefill_left_s: float = 0.0
    resumed_tokens: int = 0  # made before it was put back into the queue
    decode_from: float | None = None  # the batch's counter when its first token came

    @property
    def kv_tokens(self) -> int:
        """Places in the KV cache that it keeps until it ends."""
        return self.prompt_tokens + self.output_tokens


@dataclass(slots=True)
class Batch:
    """At most `seqs_max` sequences run, and only as many as fit `kv_tokens_max`; the others wait in order."""

    speed: Speed
    seqs_max: int
    kv_tokens_max: int
    slowdown: float = 1.0
    next_prefill_extra_s: float = 0.0
    extra_prefills: int = 1  # how many prefills take that much longer
    paused: bool = False
    waiting: deque[Sequence] = field(default_factory=deque)
    prefilling: deque[Sequence] = field(default_factory=deque)
    decoding: dict[Sequence, None] = field(default_factory=dict)  # a set that keeps its order
    kv_tokens: int = 0
    _ends: list[tuple[float, int, Sequence]] = field(default_factory=list)
    _decoded: float = 0.0
    _at_s: float = 0.0
    _order: "count[int]" = field(default_factory=count)

    @property
    def running_count(self) -> int:
        return len(self.prefilling) + len(self.decoding)

    @property
    def kv_used_fraction(self) -> float:
        """Places of the KV cache that are filled, 0 to 1."""
        filled = sum(s.prompt_tokens + self.made_tokens(s) for s in [*self.decoding, *self.prefilling])
        return min(1.0, filled / self.kv_tokens_max)

    def made_tokens(self, sequence: Sequence) -> int:
        """Tokens of its output that exist by now."""
        if sequence.decode_from is None:
            return sequence.resumed_tokens
        since_first = math.floor(self._decoded - sequence.decode_from + _ROUNDING)
        return min(sequence.output_tokens, sequence.resumed_tokens + 1 + since_first)

    def add(self, sequence: Sequence, now_s: float) -> list[Sequence]:
        """Put it at the end of the queue; returns the sequences that ended until `now_s`."""
        ended = self.advance(now_s)
        self.waiting.append(sequence)
        self._admit()
        return ended

    def remove(self, sequence: Sequence, now_s: float) -> list[Sequence]:
        """Drop it wherever it is (nothing happens if it is gone); returns what ended until `now_s`."""
        ended = self.advance(now_s)
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        elif sequence in self.prefilling:
            self.prefilling.remove(sequence)
            self.kv_tokens -= sequence.kv_tokens
        elif sequence in self.decoding:
            self._leave(sequence)
        self._admit()
        return ended

    def pause(self, now_s: float) -> list[Sequence]:
        """Put what runs back to the head of the queue, where all wait for `resume`: KV cache lost, text kept."""
        ended = self.advance(now_s)
        for sequence in reversed([*self.decoding, *self.prefilling]):
            sequence.resumed_tokens = self.made_tokens(sequence)
            sequence.decode_from = None
            self.waiting.appendleft(sequence)
        self.decoding.clear()
        self.prefilling.clear()
        self._ends.clear()
        self.kv_tokens = 0
        self.paused = True
        return ended

    def resume(self, now_s: float) -> None:
        """Let sequences run again after `pause`."""
        self.advance(now_s)
        self.paused = False
        self._admit()

    def advance(self, now_s: float) -> list[Sequence]:
        """Let time pass until `now_s` (never backwards); returns the sequences that ended, in order."""
        ended: list[Sequence] = []
        while (event_s := self.next_event_s()) is not None and event_s <= now_s:
            self._pass_time(event_s)
            if self.prefilling and self.prefilling[0].prefill_left_s <= _ROUNDING / 10:
                self._start_decode(self.prefilling.popleft())
            while self._ends and self._ends[0][0] <= self._decoded + _ROUNDING:
                sequence = heapq.heappop(self._ends)[2]
                if sequence in self.decoding:
                    self._leave(sequence)
                    ended.append(sequence)
            self._admit()
        self._pass_time(max(now_s, self._at_s))
        return ended

    def next_event_s(self) -> float | None:
        """When the next prefill or sequence ends; None while nothing runs."""
        while self._ends and self._ends[0][2] not in self.decoding:
            heapq.heappop(self._ends)
        times = []
        if self.prefilling:
            times.append(self.prefilling[0].prefill_left_s * self.slowdown)
        if self._ends:
            times.append(max(0.0, self._ends[0][0] - self._decoded) * self._token_s())
        return self._at_s + min(times) if times else None

    def _token_s(self) -> float:
        speed = self.speed
        return (speed.decode_base_s + speed.decode_per_seq_s * len(self.decoding)) * self.slowdown

    def _pass_time(self, until_s: float) -> None:
        passed_s = until_s - self._at_s
        if self.prefilling:
            self.prefilling[0].prefill_left_s -= passed_s / self.slowdown
        if self.decoding:
            self._decoded += passed_s / self._token_s()
        self._at_s = until_s

    def _start_decode(self, sequence: Sequence) -> None:
        sequence.decode_from = self._decoded
        self.decoding[sequence] = None
        more = sequence.output_tokens - sequence.resumed_tokens - 1
        heapq.heappush(self._ends, (self._decoded + more, next(self._order), sequence))

    def _leave(self, sequence: Sequence) -> None:
        self.decoding.pop(sequence, None)
        self.kv_tokens -= sequence.kv_tokens

    def _admit(self) -> None:
        while self.waiting and not self.paused and self.running_count < self.seqs_max:
            sequence = self.waiting[0]
            if self.kv_tokens + sequence.kv_tokens > self.kv_tokens_max:
                return
            self.waiting.popleft()
            read_tokens = sequence.prompt_tokens + sequence.resumed_tokens
            sequence.prefill_left_s = (
                self.speed.prefill_overhead_s
                + read_tokens / self.speed.prefill_tokens_per_s
                + self.next_prefill_extra_s
            )
            self.extra_prefills -= 1
            if self.extra_prefills <= 0:
                self.next_prefill_extra_s = 0.0
            self.kv_tokens += sequence.kv_tokens
            self.prefilling.append(sequence)
