"""What load pools had: from Prometheus where there is one, else from what routers told this process."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import requests
from numpy.typing import NDArray
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from ingle_core.scaling.history import STEP_S, STEPS, LoadHistory

PAUSE_S = 60.0
Peaks = NDArray[np.float32]

log = logging.getLogger(__name__)


class Span(NamedTuple):
    """So many steps of so many seconds, each sampled so often; Prometheus gives at most 11 000 at once."""

    step_s: float
    steps: int
    sampled_s: float


WEEKS: Final = Span(STEP_S, STEPS, 30.0)
MINUTES: Final = Span(60.0, 3 * 24 * 60, 15.0)


def query_of(pool: str, span: Span = WEEKS) -> str:
    """The pool's peak of the step before the time asked for: requests on engines and in waiting rooms."""
    both = " + ".join(
        f'sum(ingle_router_{name}{{pool="{pool}"}})' for name in ("in_flight", "waiting")
    )  # both exist for every pool that a router knows
    return f"max_over_time(({both})[{span.step_s:.0f}s:{span.sampled_s:.0f}s])"


class Prometheus:
    """One question at a time in a thread of its own, since the client blocks; `limit_s` bounds each. None for `PAUSE_S` after
    one without an answer.

    `asked`, `failed`: how many. `trouble`: why the last one failed, empty where it did not.
    """

    def __init__(self, url: str, limit_s: float) -> None:
        self._limit_s = limit_s
        self._client = PrometheusConnect(url=url.rstrip("/"), retry=Retry(total=0), timeout=limit_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus")
        self._turn = asyncio.Lock()
        self._open: asyncio.Future[list[dict[str, Any]]] | None = None
        self._again_s = float("-inf")
        self.asked = self.failed = 0
        self.trouble = ""

    async def peaks(self, pool: str, now_s: float, span: Span = WEEKS) -> Peaks | None:
        """Of the whole steps before now, oldest first, NaN where there is no sample.

        None where Prometheus does not answer in time, with the reason in `trouble`.
        """
        async with self._turn:
            return await self._peaks(pool, now_s, span)

    async def _peaks(self, pool: str, now_s: float, span: Span) -> Peaks | None:
        hangs = self._open is not None and not self._open.done()
        if hangs or time.monotonic() < self._again_s:
            return None
        self.asked += 1
        try:
            loop = asyncio.get_running_loop()
            self._open = loop.run_in_executor(self._thread, self._ask, pool, now_s, span)
            async with asyncio.timeout(self._limit_s):
                found = _peaks_in(await asyncio.shield(self._open), now_s, span)
        except (
            requests.RequestException,
            PrometheusApiClientException,
            TimeoutError,
            ValueError,
            LookupError,
            TypeError,
        ) as error:
            self.failed += 1
            self._again_s = time.monotonic() + PAUSE_S
            self._tell(f"{type(error).__name__}: {error}"[:300])
            return None
        self._tell("")
        return found

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self, pool: str, now_s: float, span: Span) -> list[dict[str, Any]]:
        step_s = span.step_s
        last_s = now_s // step_s * step_s - 1.0  # a sample at the very end of a step is the next one's
        answer = self._client.custom_query_range(
            query_of(pool, span),
            start_time=datetime.fromtimestamp(last_s - (span.steps - 1) * step_s, UTC),
            end_time=datetime.fromtimestamp(last_s, UTC),
            step=f"{step_s:.0f}",
        )
        return list(answer)

    def _tell(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            log.warning(
                "demand history: Prometheus %s", f"does not answer: {trouble}" if trouble else "answers"
            )
        self.trouble = trouble


def _peaks_in(answer: list[dict[str, Any]], now_s: float, span: Span) -> Peaks:
    """The samples of one series as whole steps. Raises LookupError, TypeError or ValueError where it is not one."""
    peaks = np.full(span.steps, np.nan, np.float32)
    if len(answer) > 1:
        raise ValueError("more than one series")
    last = int(now_s // span.step_s) - 1
    for at_s, text in answer[0]["values"] if answer else ():
        value, place = float(text), span.steps - 1 - (last - int(float(at_s) // span.step_s))
        if math.isfinite(value) and 0 <= place < span.steps:
            peaks[place] = value
    return peaks


class DemandHistory:
    """The peaks of each pool that wants a forecast; what both sources know, the larger counts."""

    def __init__(self, prometheus: Prometheus | None) -> None:
        self.prometheus = prometheus
        self._own: dict[str, LoadHistory] = {}

    def note(self, pool: str, load: int | None, at_s: float) -> None:
        """The load from `at_s` on; None: not known."""
        history = self._own.setdefault(pool, LoadHistory())
        if load is None:
            history.lost(at_s)
        else:
            history.note(load, at_s)

    def noted(self, pool: str) -> bool:
        return pool in self._own

    def keep(self, pools: set[str]) -> None:
        """Forgets all others."""
        for gone in self._own.keys() - pools:
            del self._own[gone]

    async def peaks(self, pool: str, now_s: float) -> Peaks:
        """The last whole steps, oldest first; NaN where nobody knows."""
        own = self._own.setdefault(pool, LoadHistory()).peaks(now_s)
        asked = await self.prometheus.peaks(pool, now_s) if self.prometheus is not None else None
        return own if asked is None else np.fmax(own, asked)
