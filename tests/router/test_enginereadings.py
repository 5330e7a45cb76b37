"""What engines' metrics say of their load, from pages as vLLM and SGLang write them."""

from __future__ import annotations

import msgspec
import pytest

from ingle_core.scaling.desired import EngineReading
from ingle_kit.streams import Demand, EndpointDemand
from ingle_router.enginereadings import WINDOW_S, EngineReadings, quantile_s, read

from .conftest import Rig

PAGE = """# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} %d
vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="m"} %d
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} %d
"""


def test_of_the_first_page_queue_and_cache_are_known_and_of_the_second_the_time_to_first_token() -> None:
    readings = EngineReadings()
    readings.take("u", PAGE % (5, 5, 5), 0.0)
    assert readings.last["u"] == EngineReading(3, 0.25, None)
    readings.take("u", PAGE % (5, 15, 15), 5.0)
    assert readings.last["u"] == EngineReading(3, 0.25, pytest.approx(0.91))


def test_a_time_to_first_token_is_of_the_last_minute() -> None:
    readings = EngineReadings()
    for at_s, slow in ((0.0, 0), (5.0, 10), (5.0 + WINDOW_S, 10), (10.0 + WINDOW_S, 10)):
        readings.take("u", PAGE % (0, 0, slow), at_s)
        if at_s == 5.0:
            assert readings.last["u"].ttft_s == 1.0  # above the last bound: at least that
    assert readings.last["u"].ttft_s is None


def test_ranks_of_one_engine_are_taken_together() -> None:
    page = (
        'vllm:num_requests_waiting{engine="0"} 3\nvllm:num_requests_waiting{engine="1"} 4\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.1\nvllm:kv_cache_usage_perc{engine="1"} 0.9\n'
    )
    readings = EngineReadings()
    readings.take("u", page, 0.0)
    assert readings.last["u"] == EngineReading(7, 0.9, None)


def test_sglang_says_the_same_in_other_words() -> None:
    said = read('sglang:num_queue_reqs{model_name="m"} 2.0\nsglang:token_usage{model_name="m"} 0.5\n')
    assert (said.queue, said.kv_fraction) == (2.0, 0.5)


@pytest.mark.parametrize(
    "page",
    ["vllm:num_requests_waiting{} x", "vllm:kv_cache_usage_perc{} NaN", "vllm:kv_cache_usage_perc{}", ""],
)
def test_a_page_that_cannot_be_read_says_nothing(page: str) -> None:
    readings = EngineReadings()
    readings.take("u", PAGE % (1, 1, 1), 0.0)
    readings.take("u", page, 1.0)
    assert readings.last.get("u", EngineReading()) == EngineReading()


def test_a_counter_that_fell_is_of_a_new_engine() -> None:
    assert quantile_s({0.1: 5.0, float("inf"): 5.0}, {0.1: 1.0, float("inf"): 1.0}) is None
    assert quantile_s({}, {}) is None


async def test_the_demand_stream_tells_what_an_awake_engine_says_until_it_sleeps(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    engine.said = tuple((PAGE % (5, 5, 5)).splitlines())
    busy = EndpointDemand(engine.uid, True, 0, queue=3, kv_percent=25)
    async with rig.http.get(f"http://{rig.settings.listen}:{rig.settings.port_http}/v1/demand") as response:
        async for line in response.content:
            if msgspec.json.decode(line, type=Demand).endpoints == (busy,):
                break
        rig.pod(engine, "llama", awake=False)
        async for line in response.content:
            if msgspec.json.decode(line, type=Demand).endpoints == (EndpointDemand(engine.uid, False, 0),):
                break
