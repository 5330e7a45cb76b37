"""Calls to engines of every kind: what state they are in, probes, sleep and wake."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import aiohttp

from ingle_core.warmpool.probing import Times
from ingle_core.warmpool.tiers import FIRST_SLEEP_S, Level
from ingle_operator.adapters import SILENT, Adapter, Calls, EngineWord, Outcome

CHANGE_LIMIT_MAX_S = 8.0
SLOW_LIMIT_MAX_S = 90.0  # one key is worked on no longer than the health check allows
SLEEP_TIMES = 3.0  # a sleep is given up after so many times what it took before
PROBE_TOKENS = 8
LONG_TOKENS = 1024
AT_ONCE = 8
TOO_LONG = (400, 413, 422)
_PROBE_TEXT = "Say which of these words names a colour: river, blue, seven."


class EngineClient:
    """`may_act(limit_s)` raises when our lease is too short.

    `change_limit_s`: the time limit of calls that change an engine; a lease must always outlive it.
    `slow_limit_s`: how long the answer to one may take that reads weights.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        may_act: Callable[[float], None],
        change_limit_s: float,
        slow_limit_s: float = SLOW_LIMIT_MAX_S,
    ) -> None:
        self._session, self._may_act = session, may_act
        self._change_limit_s = min(CHANGE_LIMIT_MAX_S, change_limit_s)
        self._slow_limit_s = min(SLOW_LIMIT_MAX_S, max(self._change_limit_s, slow_limit_s))

    def _calls(self, address: str, slow_limit_s: float = math.inf) -> Calls:
        slow_s = max(self._change_limit_s, min(self._slow_limit_s, slow_limit_s))
        return Calls(self._session, address, self._may_act, self._change_limit_s, slow_s)

    async def word(self, adapter: Adapter, address: str, count: bool = False) -> EngineWord:
        """Whether it sleeps and, if `count`, how many requests run; `SILENT` when it does not say so in time."""
        try:
            return await adapter.word(self._calls(address), count)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return SILENT

    async def sleep(
        self, adapter: Adapter, address: str, level: Level, sleep_s: float = FIRST_SLEEP_S
    ) -> Outcome:
        """To sleep at that level. `sleep_s`: how long that took last; the first one copies the weights and is slow."""
        return await adapter.sleep(self._calls(address, SLEEP_TIMES * sleep_s), level)

    async def wake(
        self, adapter: Adapter, address: str, level: Level, on_send: Callable[[], None]
    ) -> Outcome:
        """Awake from that level. `on_send` is called as the first call goes out."""
        self._may_act(self._change_limit_s)
        on_send()
        return await adapter.wake(self._calls(address), level)

    async def refresh(self, adapter: Adapter, address: str) -> Outcome:
        """Prefix cache emptied."""
        return await adapter.refresh(self._calls(address))

    async def probe(
        self, adapter: Adapter, address: str, model: str, number: int, context_tokens: int | None = None
    ) -> Times | None:
        """One round of our own requests at usual sampling; None where one was not answered well.

        `number` stands first in each prompt, so that no prefix cache answers in place of the model.
        """
        long_tokens = LONG_TOKENS if context_tokens is None else min(LONG_TOKENS, context_tokens // 2)
        long_text = "light " * max(1, long_tokens - PROBE_TOKENS - len(_PROBE_TEXT) // 4)

        async def one(text: str, at: int) -> tuple[float, int]:
            return await self._answered(adapter, address, model, f"{number}.{at} {text}")

        short_s, status = await one(_PROBE_TEXT, 0)
        if status != 200:
            return None
        long_s, status = await one(long_text + _PROBE_TEXT, 1)
        if status in TOO_LONG:
            long_s, status = short_s, 200
        started_s = time.monotonic()
        statuses = [s for _, s in await asyncio.gather(*(one(_PROBE_TEXT, n + 2) for n in range(AT_ONCE)))]
        batched_s = time.monotonic() - started_s
        return Times(short_s, long_s, batched_s) if {status, *statuses} == {200} else None

    async def _answered(self, adapter: Adapter, address: str, model: str, text: str) -> tuple[float, int]:
        """Seconds until the whole answer, and its status (0: none)."""
        body = {"model": model, "prompt": text, "max_tokens": PROBE_TOKENS, "temperature": 0.7, "top_p": 0.95}
        started_s = time.monotonic()
        status = await self._calls(address).post("/v1/completions", body | dict(adapter.probe_fields))
        return time.monotonic() - started_s, status or 0
