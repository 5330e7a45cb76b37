"""HTTP to one engine. Engines have no compare-and-swap: each call that changes one first checks that our lease outlives it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

log = logging.getLogger(__name__)

READ_LIMIT_S = 2.0
BODY_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Calls:
    """`may_act(limit_s)` raises when our lease is too short. `change_limit_s`: how long a call that changes may take.

    `slow_limit_s`: how long the answer to one may take that moves all weights. It is sent at once, so the lease has to
    outlive only the sending.
    """

    session: aiohttp.ClientSession
    address: str
    may_act: Callable[[float], None]
    change_limit_s: float
    slow_limit_s: float

    async def status(self, path: str) -> int:
        """Status of a GET."""
        async with self.session.get(self.address + path, timeout=_limit(READ_LIMIT_S)) as answer:
            return answer.status

    async def text(self, path: str) -> str:
        """Body of a GET that is answered with 200. Raises ValueError where it is not, or is too long."""
        async with self.session.get(self.address + path, timeout=_limit(READ_LIMIT_S)) as answer:
            if answer.status != 200:
                raise ValueError(f"{path}: status {answer.status}")
            return (await _body(answer)).decode(errors="replace")

    async def post(self, path: str, body: object = None, *, slow: bool = False) -> int | None:
        """Status of a POST that changes the engine; None where no answer came in time."""
        self.may_act(self.change_limit_s)
        limit = (
            aiohttp.ClientTimeout(total=self.slow_limit_s, sock_connect=self.change_limit_s)
            if slow
            else _limit(self.change_limit_s)
        )
        try:
            async with self.session.post(self.address + path, json=body, timeout=limit) as answer:
                if answer.status != 200:
                    log.warning("%s%s: status %d", self.address, path, answer.status)
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("%s%s: %s: %s", self.address, path, type(error).__name__, error)
            return None


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
