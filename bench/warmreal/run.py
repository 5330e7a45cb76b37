"""One run of a load over a lab, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.warmreal.lab import Lab
from bench.warmreal.load import Ask, percentile
from bench.warmreal.waits import spent
from ingle_lab.demo.clients import Answer
from ingle_lab.demo.scene import NAMESPACE

STAT = Path("/proc/stat")
IDLE_FIELDS = (3, 4)  # idle, and waiting for a disk
FIELDS = slice(1, 9)  # guests are counted in user time


@dataclass(frozen=True)
class Seen:
    """`held`: pool and seconds to the first token of requests that found no awake engine; `hot_first_s`: of the others;
    `fell_asleep`: of the held ones, those that came while the engine was falling asleep. `waits`: of each held one, seconds
    by what it waited for (`waits.py`).

    A request found none when its client saw a sign of life before the first token: only the waiting room sends those.
    `waited_for_start`: how many of the held ones waited for a start and not for a wake. `outcomes` is the router's
    own count. `double`: see `Moves`.
    """

    answers: list[Answer]
    held: list[tuple[str, float]]
    hot_first_s: list[float]
    fell_asleep: list[tuple[str, float]]
    waited_for_start: int
    wakes: int
    starts: int
    outcomes: dict[str, int]
    double: list[str]
    oversold: int
    cpu_fraction: float
    waits: list[dict[str, float]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(not answer.good for answer in self.answers)

    @property
    def warm_fraction(self) -> float:
        """Of the requests, those that found their model awake or waited for a wake."""
        return 1 - (self.waited_for_start + self.failed) / max(1, len(self.answers))

    @property
    def hot_fraction(self) -> float:
        """Of the actuations, those that were wakes."""
        return self.wakes / max(1, self.wakes + self.starts)

    def first_token_s(self, percent: float) -> float:
        """Of the held requests."""
        return percentile([first_s for _, first_s in self.held], percent)


async def under_load(lab: Lab, asks: Sequence[Ask]) -> Seen:
    """Sends all and waits for all answers."""
    lab.moves.reset()
    before, oversold, ticks = await lab.outcomes(), lab.witnessed.oversold_samples, _ticks()
    answers = await lab.send(asks)
    after, (busy, every) = await lab.outcomes(), (n - b for n, b in zip(_ticks(), ticks, strict=True))
    for answer in [a for a in answers if not a.good][:5]:
        lab.tell(f"failed: {answer.model} status {answer.status} {answer.fault} {answer.message}")
    for text in (*lab.moves.double[:5], *lab.witnessed.worst[:5]):
        lab.tell(text)
    good = [(ask.pool, answer) for ask, answer in zip(asks, answers, strict=True) if answer.good]
    held = [(pool, answer) for pool, answer in good if answer.comments]
    return Seen(
        answers,
        [(pool, answer.first_token_s) for pool, answer in held],
        [answer.first_token_s for _, answer in good if not answer.comments],
        [(pool, answer.first_token_s) for pool, answer in held if _fell_asleep(lab, pool, answer)],
        sum(_waited_for_start(lab, pool, answer) for pool, answer in held),
        lab.moves.counts["Waking"],
        lab.moves.counts["Starting"],
        {kind: after[kind] - before.get(kind, 0) for kind in after},
        list(lab.moves.double),
        lab.witnessed.oversold_samples - oversold,
        busy / every,
        [_waits(lab, pool, answer) for pool, answer in held],
    )


def _waited_for_start(lab: Lab, pool: str, answer: Answer) -> bool:
    until_s = answer.sent_at_s + answer.first_token_s
    return lab.moves.brought_by(f"{NAMESPACE}/{pool}", until_s) == "Starting"


def _waits(lab: Lab, pool: str, answer: Answer) -> dict[str, float]:
    until_s = answer.sent_at_s + answer.first_token_s
    return spent(lab.moves.told, f"{NAMESPACE}/{pool}", answer.sent_at_s, until_s)


def _fell_asleep(lab: Lab, pool: str, answer: Answer) -> bool:
    return lab.moves.state_at(f"{NAMESPACE}/{pool}", answer.sent_at_s) == "Sleeping"


def _ticks() -> tuple[int, int]:
    """Ticks since boot in which a CPU worked, and all ticks."""
    ticks = [int(word) for word in STAT.read_text().partition("\n")[0].split()[FIELDS]]
    return sum(ticks) - sum(ticks[i] for i in IDLE_FIELDS), sum(ticks)


def short(seen: Seen) -> str:
    """A line for people."""
    return (
        f"{len(seen.answers)} requests, {seen.failed} failed, {seen.outcomes}; {seen.wakes} wakes,"
        f" {seen.starts} starts; {len(seen.held)} held ({len(seen.fell_asleep)} while"
        f" falling asleep), p50 {seen.first_token_s(50):.2f} s,"
        f" p95 {seen.first_token_s(95):.2f} s to the first token; {len(seen.double)} double,"
        f" {seen.oversold} readings oversold; CPUs {seen.cpu_fraction:.0%} busy"
    )
