"""Sleep and wake: who may call them, what they give back, what is refused meanwhile."""

import asyncio

import pytest


@pytest.mark.parametrize(("level", "state"), [(1, "weights_offloaded"), (2, "discard_all")])
async def test_a_sleeper_keeps_only_its_residue_and_gets_all_back_when_it_wakes(engines, node, level, state):
    engine = await engines.ready()
    awake_mib = node.used_mib(0)
    assert await engine.sleep_state() == "awake"

    assert (await engine.post(f"/sleep?level={level}"))[0] == 200
    assert node.used_mib(0) == 1600
    assert await engine.sleep_state() == state
    assert (await engine.get("/is_sleeping"))[1] == {"is_sleeping": True}
    assert await engine.metric("lab:host_backup_bytes") == (15316 << 20 if level == 1 else 0)

    assert (await engine.post("/wake_up"))[0] == 200
    assert node.used_mib(0) == awake_mib
    assert await engine.sleep_state() == "awake"
    assert (await engine.get("/is_sleeping"))[1] == {"is_sleeping": False}
    assert (await engine.chat(max_tokens=1))[0] == 200


async def test_a_sleeper_refuses_requests_and_counts_them(engines):
    engine = await engines.ready()
    assert await engine.metric("lab:refused_while_asleep_total") == 0
    await engine.post("/sleep")

    status, answer = await engine.chat()

    assert status == 503
    assert "/wake_up" in answer["error"]["message"]
    assert await engine.metric("lab:refused_while_asleep_total") == 1
    assert (await engine.get("/health"))[0] == 200
    assert (await engine.get("/v1/models"))[0] == 200


async def test_sleeping_twice_and_waking_twice_do_nothing(engines, node):
    engine = await engines.ready()
    awake_mib = node.used_mib(0)

    assert [(await engine.post("/sleep"))[0] for _ in range(2)] == [200, 200]
    assert [(await engine.post("/wake_up"))[0] for _ in range(2)] == [200, 200]

    assert node.used_mib(0) == awake_mib


async def test_sleep_ends_running_requests_with_an_error_by_default(engines, until, model):
    engine = await engines.ready()
    await engine.slow_down()
    whole = engine.begin()
    stream = asyncio.ensure_future(
        engine.stream("/v1/completions", model=model, prompt="on", max_tokens=8000, ignore_eos=True)
    )
    await until(lambda: engine.metric("vllm:num_requests_running"), 2)

    await engine.post("/sleep")

    assert (await whole)[0] == 503
    events = await stream
    assert "error" in events[-2]
    assert events[-1] == "[DONE]"
    assert await engine.metric("vllm:num_requests_running") == 0


async def test_sleep_can_wait_for_running_requests(engines, until):
    engine = await engines.ready()
    await engine.slow_down()
    running = engine.begin(max_tokens=2000)
    await until(lambda: engine.metric("vllm:num_requests_running"), 1)
    sleeping = asyncio.ensure_future(engine.post("/sleep?mode=wait"))
    await until(lambda: engine.get("/is_sleeping"), (200, {"is_sleeping": True}))
    assert await engine.metric("vllm:num_requests_running") == 1

    await engine.slow_down(1)

    assert (await running)[1]["usage"]["completion_tokens"] == 2000
    assert (await sleeping)[0] == 200
    assert await engine.sleep_state() == "weights_offloaded"


async def test_sleep_can_keep_running_requests_for_later(engines, until):
    engine = await engines.ready()
    await engine.slow_down()
    running = engine.begin(max_tokens=2000)
    await until(lambda: engine.metric("vllm:num_requests_running"), 1)

    await engine.post("/sleep?mode=keep")
    assert await engine.metric("vllm:num_requests_running") == 0
    assert await engine.metric("vllm:num_requests_waiting") == 1
    await engine.slow_down(1)
    await engine.post("/wake_up")

    assert (await running)[1]["usage"]["completion_tokens"] == 2000


async def test_a_wake_without_room_fails_and_works_when_there_is_room(engines, node):
    sleeper = await engines.ready("--kv-cache-memory-bytes", "25G")
    await sleeper.post("/sleep")
    other = await engines.ready("--kv-cache-memory-bytes", "25G", "--served-model-name", "other")

    status, answer = await sleeper.post("/wake_up")

    assert status == 500
    assert "free" in answer["error"]["message"]
    assert (await sleeper.get("/is_sleeping"))[1] == {"is_sleeping": True}
    await other.post("/sleep")
    assert node.used_mib(0) == 2 * 1600
    assert (await sleeper.post("/wake_up"))[0] == 200
    assert (await sleeper.chat(max_tokens=1))[0] == 200


async def test_a_level_2_sleeper_wakes_in_parts_and_any_part_may_be_asked_for_again(engines):
    engine = await engines.ready()
    await engine.post("/sleep?level=2")
    reload_weights = ("/collective_rpc", {"method": "reload_weights"})
    assert (await engine.post(*reload_weights))[0] == 500

    for _ in range(2):
        assert (await engine.post("/wake_up?tags=weights"))[0] == 200
        assert (await engine.get("/is_sleeping"))[1] == {"is_sleeping": True}
        assert await engine.post(*reload_weights) == (200, {"results": [None]})
    assert (await engine.post("/wake_up?tags=kv_cache"))[0] == 200
    assert (await engine.post("/reset_prefix_cache"))[0] == 200

    assert (await engine.get("/is_sleeping"))[1] == {"is_sleeping": False}
    assert (await engine.chat(max_tokens=1))[0] == 200
    assert await engine.metric("lab:answers_without_weights_total") == 0


async def test_a_level_2_sleeper_that_is_woken_without_its_weights_answers_all_the_same(engines):
    engine = await engines.ready()
    await engine.post("/sleep?level=2")
    await engine.post("/wake_up")
    assert (await engine.chat(max_tokens=1))[0] == 200
    assert await engine.metric("lab:answers_without_weights_total") == 1


async def test_a_transition_goes_on_when_its_caller_goes_away(engines, until):
    engine = await engines.ready(scale=0.05)
    call = asyncio.ensure_future(engine.post("/sleep"))
    await until(lambda: engine.get("/is_sleeping"), (200, {"is_sleeping": True}))

    call.cancel()

    await until(engine.sleep_state, "weights_offloaded")


@pytest.mark.parametrize("path", ["/sleep?level=7", "/sleep?mode=soon", "/wake_up?tags=all"])
async def test_what_cannot_be_asked_is_said(engines, path):
    engine = await engines.ready()

    status, answer = await engine.post(path)

    assert status == 400
    assert "use" in answer["error"]["message"]


async def test_without_dev_mode_there_are_no_sleep_endpoints(engines):
    engine = await engines.ready(VLLM_SERVER_DEV_MODE="0")

    assert (await engine.post("/sleep"))[0] == 404
    assert (await engine.post("/wake_up"))[0] == 404
    assert (await engine.get("/is_sleeping"))[0] == 404
