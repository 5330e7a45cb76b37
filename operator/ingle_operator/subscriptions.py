"""Streams of agents and routers: whoever leads subscribes to each pod that it sees, and keeps the last snapshot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp
import msgspec

M = TypeVar("M", bound=msgspec.Struct)

SILENCE_S = 5.0
RETRY_S = 0.5
LINE_BYTES_MAX = 8 * 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard(Generic[M]):
    """The last message of one source and when it came (monotonic seconds)."""

    message: M
    at_s: float


class Subscriptions(Generic[M]):
    """Keeps one stream open per source. `last[source]` goes when the source goes, not when it is silent."""

    def __init__(
        self, session: aiohttp.ClientSession, kind: type[M], on_message: Callable[[str, M | None, M], None]
    ) -> None:
        self._session = session
        self._decoder = msgspec.json.Decoder(kind)
        self._on_message = on_message
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self.last: dict[str, Heard[M]] = {}

    def aim(self, sources: dict[str, str]) -> None:
        """Follow exactly these: source name to URL."""
        for name in [n for n, (url, _) in self._tasks.items() if sources.get(n) != url]:
            _, task = self._tasks.pop(name)
            task.cancel()
            self.last.pop(name, None)
        for name, url in sources.items():
            if name not in self._tasks:
                self._tasks[name] = (url, asyncio.get_running_loop().create_task(self._follow(name, url)))

    def followed(self) -> list[str]:
        """Every source that is alive, heard or not."""
        return list(self._tasks)

    def fresh(self, name: str, within_s: float = SILENCE_S) -> M | None:
        """The last message if it is not older than `within_s`."""
        heard = self.last.get(name)
        return heard.message if heard and time.monotonic() - heard.at_s <= within_s else None

    async def close(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        self.aim({})
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, name: str, url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=SILENCE_S)
        while True:
            try:
                async with self._session.get(url, timeout=timeout, read_bufsize=LINE_BYTES_MAX) as answer:
                    answer.raise_for_status()
                    async for line in answer.content:
                        self._take(name, self._decoder.decode(line))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.info("stream of %s: %s: %s", name, type(error).__name__, error)
            except Exception:  # a fault of ours in one message must not end what all decisions hang on
                log.exception("stream of %s", name)
            await asyncio.sleep(RETRY_S)

    def _take(self, name: str, message: M) -> None:
        old = self.last.get(name)
        self.last[name] = Heard(message, time.monotonic())
        self._on_message(name, old.message if old else None, message)
