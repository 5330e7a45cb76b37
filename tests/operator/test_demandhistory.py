"""The load of the last two weeks, from a real Prometheus and without one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from ingle_core.scaling.history import STEP_S, STEPS
from ingle_lab.prometheus import Prometheus as Server
from ingle_lab.prometheus import backfill
from ingle_operator.demandhistory import DemandHistory, Prometheus, query_of
from ingle_router.cluster import Cluster
from ingle_router.metrics import Metrics

POOL = "chat/llama"
NOW_S = time.time() // STEP_S * STEP_S + 60


def samples() -> Iterator[str]:
    """Two routers over five steps of three hours ago: in flight 1, 2, 3 and so on each, one more waits at one of them."""
    first_s = NOW_S // STEP_S * STEP_S - 12 * STEP_S
    for name in ("in_flight", "waiting"):
        yield f"# TYPE ingle_router_{name} gauge"
        for at_s in range(int(first_s), int(first_s + 5 * STEP_S), 15):
            step = 1 + int((at_s - first_s) // STEP_S)
            for router in ("a", "b"):
                value = step if name == "in_flight" else int(router == "a" and at_s % 900 >= 450)
                yield f'ingle_router_{name}{{pool="{POOL}",pod="{router}"}} {value} {at_s}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prometheus")
    server = Server(folder)
    backfill(server.data, samples())
    with server:
        yield server


@pytest.fixture
async def asked(server: Server) -> AsyncIterator[Prometheus]:
    prometheus = Prometheus(server.url, 10.0)
    yield prometheus
    prometheus.close()


async def test_the_peaks_of_each_step_come_from_prometheus_all_routers_together(asked: Prometheus) -> None:
    peaks = await asked.peaks(POOL, NOW_S)
    assert asked.trouble == ""
    assert peaks is not None
    assert len(peaks) == STEPS
    assert list(peaks[-12:-7]) == [3, 5, 7, 9, 11]
    assert np.isnan(peaks[: STEPS - 12]).all()


async def test_a_pool_that_prometheus_does_not_know_has_no_history(asked: Prometheus) -> None:
    peaks = await asked.peaks("chat/another", NOW_S)
    assert peaks is not None
    assert np.isnan(peaks).all()


async def test_what_this_process_has_seen_counts_too(asked: Prometheus) -> None:
    history = DemandHistory(asked)
    for at_s, load in ((NOW_S - 12 * STEP_S, 40), (NOW_S - 11 * STEP_S, 1), (NOW_S - 10 * STEP_S, 1)):
        history.note(POOL, load, at_s)
    peaks = await history.peaks(POOL, NOW_S)
    assert list(peaks[-12:-7]) == [40, 40, 7, 9, 11]


async def test_without_prometheus_there_is_what_this_process_has_seen() -> None:
    history = DemandHistory(None)
    history.note(POOL, 4, NOW_S - STEP_S)
    history.note(POOL, 0, NOW_S)
    assert (await history.peaks(POOL, NOW_S))[-1] == 4
    history.keep(set())
    assert np.isnan(await history.peaks(POOL, NOW_S)).all()


async def test_an_unreachable_prometheus_changes_nothing_but_a_count_and_a_word() -> None:
    prometheus = Prometheus("http://127.0.0.1:9", 5.0)
    history = DemandHistory(prometheus)
    history.note(POOL, 4, NOW_S - STEP_S)
    history.note(POOL, 0, NOW_S)
    assert (await history.peaks(POOL, NOW_S))[-1] == 4
    assert (prometheus.asked, prometheus.failed) == (1, 1)
    assert "ConnectionError" in prometheus.trouble
    prometheus.close()


async def test_a_prometheus_that_never_answers_is_left_after_its_limit_and_asked_once_at_a_time() -> None:
    release = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    prometheus = Prometheus(f"http://127.0.0.1:{port}", 0.2)
    before = threading.active_count()
    assert await prometheus.peaks(POOL, NOW_S) is None
    assert await prometheus.peaks(POOL, NOW_S) is None
    assert prometheus.failed >= 1
    assert threading.active_count() <= before + 1
    release.set()
    server.close()
    prometheus.close()


def test_the_question_is_about_what_routers_tell() -> None:
    metrics = Metrics()
    metrics.observe(Cluster(time.monotonic), {})
    told = {metric.name for metric in metrics.registry.collect()}
    asked = {word for word in ("ingle_router_in_flight", "ingle_router_waiting") if word in query_of(POOL)}
    assert len(asked) == 2
    assert asked <= told
