"""Requests at seeded moments: two bursts with a pause between them, so that engines wake, sleep and wake again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from ingle_lab.demo.clients import Answer, Client

BURST_S = 1.0
RETRYABLE = frozenset((429, 502, 503, 504))


class Traffic:
    """`requests` of the models, in two bursts that begin `apart_s` seconds apart; the same seed, the same traffic."""

    def __init__(
        self, client: Client, models: Sequence[str], seed: int, *, requests: int = 16, apart_s: float = 2.5
    ) -> None:
        self._client = client
        self.luck = random.Random(seed)
        moments = [self.luck.uniform(0, BURST_S) + apart_s * (n % 2) for n in range(requests)]
        self._plan = sorted((at_s, self.luck.choice(models), self.luck.randint(1, 60)) for at_s in moments)
        self.length_s = apart_s + BURST_S
        self.answers: list[Answer] = []

    async def run(self) -> list[Answer]:
        """Sends all and returns every answer."""
        self.answers = await asyncio.gather(*(self._one(*one) for one in self._plan))
        return self.answers

    async def _one(self, at_s: float, model: str, tokens: int) -> Answer:
        await asyncio.sleep(at_s)
        return await self._client.ask(model, tokens=tokens)


def retryable(answer: Answer) -> bool:
    """Whether a client may simply ask again: told so by the status, or the connection or stream broke."""
    return answer.status in RETRYABLE or (answer.status in (0, 200) and bool(answer.fault))
