"""The engines' own word on whether they sleep and how busy they are, read from their metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import aiohttp

from ingle_router.cluster import Cluster
from ingle_router.settings import Settings

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 4 * 1024 * 1024
READERS = 16


def asleep_by(metrics: str) -> bool | None:
    """Reads `vllm:engine_sleep_state`; None where the engine does not report it."""
    reported = None
    for line in metrics.splitlines():
        if not line.startswith("vllm:engine_sleep_state{"):
            continue
        labels, _, value = line.rpartition(" ")
        is_awake_line = 'sleep_state="awake"' in labels
        if float(value) == 1.0:
            return not is_awake_line
        if is_awake_line:
            reported = True
    return reported


class Gauges:
    """Reads each awake engine at a slow period, and at once when its pod changed."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster, self._settings = cluster, settings
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        cluster.on_pod = self.look

    def look(self, uid: str) -> None:
        """Read this engine soon."""
        self._due[uid] = None
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.gauge_timeout_s),
            connector=aiohttp.TCPConnector(limit=READERS),
        ) as session:
            round_at_s = time.monotonic()
            while True:
                if time.monotonic() >= round_at_s:
                    round_at_s = time.monotonic() + self._settings.gauge_period_s
                    self._due = dict.fromkeys(self._cluster.endpoints)
                elif not self._due:
                    await self._sleep(round_at_s - time.monotonic())
                self._wake.clear()
                due, self._due = self._due, {}
                await asyncio.gather(*(self._read(session, uid) for uid in due))

    async def _sleep(self, at_most_s: float) -> None:
        """Until somebody looks at an engine."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(at_most_s, 0)):
                await self._wake.wait()

    async def _read(self, session: aiohttp.ClientSession, uid: str) -> None:
        endpoint = self._cluster.endpoints.get(uid)
        if endpoint is None or not endpoint.awake or not endpoint.address:
            self._cluster.readings.drop(uid)
            return
        try:
            async with session.get(f"http://{endpoint.address}/metrics") as answer:
                text = (await answer.content.read(ANSWER_BYTES_MAX)).decode("utf-8", "replace")
            self._cluster.readings.take(uid, text if answer.status == 200 else "", time.monotonic())
            self._cluster.on_gauge(uid, asleep_by(text) if answer.status == 200 else None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info("sleep gauge of %s: %s", endpoint.address, type(error).__name__)
            self._cluster.readings.drop(uid)
            self._cluster.on_gauge(uid, None)
