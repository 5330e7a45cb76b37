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

    async def word(self, address: str, can_sleep: bool = True, count: bool = False) -> EngineWord:
        """Whether it sleeps and, if `count`, how many requests run; `SILENT` when it does not say so in time."""
        try:
            if not can_sleep:
                async with self._session.get(f"{address}/health", timeout=_limit(READ_LIMIT_S)) as answer:
                    return EngineWord(False) if answer.status == 200 else SILENT
            async with self._session.get(f"{address}/is_sleeping", timeout=_limit(READ_LIMIT_S)) as answer:
                if answer.status != 200:
                    return SILENT
                asleep = bool((await answer.json())["is_sleeping"])
            return EngineWord(asleep, await self._running(address) if count and not asleep else 0)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return SILENT

    async def _running(self, address: str) -> int:
        """Requests that run or wait inside. Raises ValueError where the engine does not say."""
        async with self._session.get(f"{address}/metrics", timeout=_limit(READ_LIMIT_S)) as answer:
            if answer.status != 200:
                raise ValueError(f"/metrics: status {answer.status}")
            text = (await _body(answer)).decode(errors="replace")
        return requests_in(text)

    async def probe(self, address: str, model: str) -> bool:
        """One short request of our own: the engine is warm only after it has answered one."""
        self._may_act(self._change_limit_s)
        body = {"model": model, "prompt": "ready?", "max_tokens": 1, "temperature": 0}
        return await self._post(f"{address}/v1/completions", body)

    async def sleep(self, address: str, level: int = 1) -> bool:
        """True when the engine said it sleeps; a time-out is False: look again."""
        self._may_act(self._change_limit_s)
        return await self._post(f"{address}/sleep?level={level}", None)

    async def wake(self, address: str, on_send: Callable[[], None]) -> bool:
        """True when the engine said it is awake; False: look again. `on_send` is called as the call goes out."""
        self._may_act(self._change_limit_s)
        on_send()
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


def requests_in(metrics: str) -> int:
    """Requests that vLLM's metrics say run or wait. Raises ValueError where they say nothing of it."""
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    counts = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.split("{")[0].split(" ")[0] in names
    ]
    if not counts:
        raise ValueError("no vllm:num_requests_running in /metrics")
    return int(sum(counts))


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises ValueError where it is too long."""
    parts = bytearray()
    async for part in answer.content.iter_any():
        parts += part
        if len(parts) > BODY_BYTES_MAX:
            raise ValueError(f"more than {BODY_BYTES_MAX} bytes")
    return bytes(parts)


def _limit(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
