"""Calls to engines: what state they are in, the probe, sleep and wake.

Engines have no compare-and-swap, so every call that changes one first checks that our lease outlives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

log = logging.getLogger(__name__)

READ_LIMIT_S = 2.0
CHANGE_LIMIT_MAX_S = 8.0
BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class EngineWord:
    """What the engine says of itself. `asleep` None: it did not answer."""

    asleep: bool | None
    running: int = 0


SILENT = EngineWord(None)


class EngineClient:
    """vLLM's HTTP surface as the operator uses it. `may_act(limit_s)` raises when our lease is too short.

    `change_limit_s`: the time limit of calls that change an engine; a lease must always outlive it.
    """

    def __init__(
        self, session: aiohttp.ClientSession, may_act: Callable[[float], None], change_limit_s: float
    ) -> None:
        self._session, self._may_act = session, may_act
        self._change_limit_s = min(CHANGE_LIMIT_MAX_S, change_limit_s)

    async def word(self, address: str, can_sleep: bool = True) -> EngineWord:
        """Whether it sleeps and how many requests run; `SILENT` when it does not answer in time."""
        try:
            if not can_sleep:
                async with self._session.get(f"{address}/health", timeout=_limit(READ_LIMIT_S)) as answer:
                    return EngineWord(False) if answer.status == 200 else SILENT
            async with self._session.get(f"{address}/is_sleeping", timeout=_limit(READ_LIMIT_S)) as answer:
                if answer.status != 200:
                    return SILENT
                asleep = bool((await answer.json())["is_sleeping"])
            return EngineWord(asleep, 0 if asleep else await self._running(address))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            return SILENT

    async def _running(self, address: str) -> int:
        async with self._session.get(f"{address}/metrics", timeout=_limit(READ_LIMIT_S)) as answer:
            text = (await answer.content.read(BODY_BYTES_MAX)).decode(errors="replace")
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        lines = (line for line in text.splitlines() if line.startswith(names))
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if "_by_reason" not in line))

    async def probe(self, address: str, model: str) -> bool:
        """One short request of our own: the engine is warm only after it has answered one."""
        self._may_act(self._change_limit_s)
        body = {"model": model, "prompt": "ready?", "max_tokens": 1, "temperature": 0}
        return await self._post(f"{address}/v1/completions", body)

    async def sleep(self, address: str, level: int = 1) -> bool:
        """True when the engine said it sleeps; a time-out is False: look again."""
        self._may_act(self._change_limit_s)
        return await self._post(f"{address}/sleep?level={level}", None)

    async def wake(self, address: str) -> bool:
        """True when the engine said it is awake; False: look again."""
        self._may_act(self._change_limit_s)
        return await self._post(f"{address}/wake_up", None)

    async def _post(self, url: str, body: dict[str, object] | None) -> bool:
        try:
            async with self._session.post(url, json=body, timeout=_limit(self._change_limit_s)) as answer:
                if answer.status != 200:
                    log.warning("%s: status %d", url, answer.status)
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("%s: %s: %s", url, type(error).__name__, error)
            return False


def _limit(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
