"""Whether an engine is hot: its answers to our own requests have come down to the time they take when all is compiled.

A round is three probes, each in seconds: a short prompt, a long one, several at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

STEADY_MAX: Final = 1024
SLOW_ROUNDS: Final = 2


class Times(NamedTuple):
    """One round: seconds until each probe was answered whole."""

    short_s: float
    long_s: float
    batched_s: float


@dataclass(frozen=True)
class ProbeLimits:
    """An answer is steady within `factor` of the steady time plus `slack_s`, which is for what clocks and networks do.

    After `rounds_max` rounds an engine is taken as it is: one that stays slower serves all the same.
    """

    factor: float = 1.3
    slack_s: float = 0.05
    rounds_max: int = 5


class Verdict(NamedTuple):
    """`reason`: why it is hot, or empty while it is not."""

    hot: bool
    reason: str = ""


def within(times: Times, steady: Times, limits: ProbeLimits) -> bool:
    """Whether all three probes of a round were steady."""
    return all(t <= s * limits.factor + limits.slack_s for t, s in zip(times, steady, strict=True))


def best_of(rounds: Sequence[Times]) -> Times:
    """The best time of each kind of probe. ValueError without a round."""
    return Times(*(min(kind) for kind in zip(*rounds, strict=True)))


def judge(rounds: Sequence[Times], steady: Times | None, limits: ProbeLimits) -> Verdict:
    """Whether an engine is hot after these rounds.

    `steady`: the best that others of its revision on the same GPU product have shown. Without one, two rounds in a
    row that agree are steady: the first after a start is the one that compiles.
    """
    if not rounds:
        return Verdict(False)
    if steady is not None and within(rounds[-1], steady, limits):
        return Verdict(True, "Probed")
    last = rounds[-2:]
    if steady is None and len(last) == 2 and all(within(times, best_of(last), limits) for times in last):
        return Verdict(True, "Probed")
    if len(rounds) >= limits.rounds_max:
        return Verdict(True, "SlowerThanSteady")
    return Verdict(False)


class Probes:
    """The rounds of each engine since its last start, and the best by revision and GPU product. Bounded; may be lost."""

    def __init__(self) -> None:
        self._steady: OrderedDict[tuple[str, str], Times] = OrderedDict()
        self._rounds: dict[str, list[Times]] = {}
        self._own: dict[str, Times] = {}
        self._slow: dict[str, int] = {}
        self._at_s: dict[str, float] = {}

    def steady(self, revision: str, product: str) -> Times | None:
        """The best of all engines of that revision on that product."""
        return self._steady.get((revision, product))

    def note(
        self, uid: str, revision: str, product: str, times: Times, limits: ProbeLimits, now_s: float
    ) -> Verdict:
        """One more round of an engine that is not hot yet."""
        rounds = self._rounds.setdefault(uid, [])
        rounds.append(times)
        verdict = judge(rounds, self.steady(revision, product), limits)
        self._at_s[uid] = now_s
        if verdict.hot:
            self._own[uid] = best_of(rounds[-2:])
            self._slow.pop(uid, None)
            self._rounds.pop(uid, None)
            self._learn(revision, product, self._own[uid])
        return verdict

    def look_again(
        self, uid: str, revision: str, product: str, times: Times, limits: ProbeLimits, now_s: float
    ) -> bool:
        """One more round of a hot engine; True when it is slow for the second time in a row, by its own best."""
        self._at_s[uid] = now_s
        own = self._own.get(uid, times)
        if within(times, own, limits):
            self._own[uid] = best_of((own, times))
            self._learn(revision, product, times)
            self._slow.pop(uid, None)
            return False
        self._slow[uid] = self._slow.get(uid, 0) + 1
        return self._slow[uid] >= SLOW_ROUNDS

    def due_at_s(self, uid: str, every_s: float, again_s: float, now_s: float) -> float:
        """When a hot engine is looked at again: `every_s` after its last round, `again_s` after one that was slow."""
        last_s = self._at_s.setdefault(uid, now_s)
        return last_s + (again_s if self._slow.get(uid) else every_s)

    def slow(self, uid: str) -> bool:
        """Whether its last rounds say that it compiles again."""
        return self._slow.get(uid, 0) >= SLOW_ROUNDS

    def restart(self, uid: str) -> None:
        """It is probed as after a start."""
        self._rounds.pop(uid, None)
        self._slow.pop(uid, None)

    def forget(self, uid: str) -> None:
        """It is gone."""
        for known in (self._rounds, self._own, self._slow, self._at_s):
            known.pop(uid, None)

    def _learn(self, revision: str, product: str, times: Times) -> None:
        key = (revision, product)
        known = self._steady.pop(key, times)
        self._steady[key] = best_of((known, times))
        while len(self._steady) > STEADY_MAX:
            self._steady.popitem(last=False)
