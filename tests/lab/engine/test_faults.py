"""Engines that cannot start, and engines that are told to misbehave."""

import asyncio

import aiohttp
import pytest


async def ended(engine, until):
    await until(lambda: engine.process.poll() is not None)
    return engine.process.returncode, engine.log.read_text()


async def test_without_room_the_load_fails_as_vllm_does(engines, node, until):
    await engines.ready("--kv-cache-memory-bytes", "50G")

    code, log = await ended(engines.start("--kv-cache-memory-bytes", "50G"), until)

    assert code == 1
    assert "CUDA out of memory" in log
    assert node.used_mib(0) == 15316 + 1600 + 50 * 1024


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        ([], {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES"),
        (["--tensor-parallel-size", "2"], {}, "make them equal"),
        ([], {"CUDA_VISIBLE_DEVICES": "GPU-nowhere"}, "GPU-nowhere"),
        ([], {"INGLE_LAB_GPU_STATE": ""}, "INGLE_LAB_GPU_STATE"),
        ([], {"INGLE_LAB_TIME_SCALE": "0"}, "INGLE_LAB_TIME_SCALE"),
        (["--max-model-len", "100000", "--kv-cache-memory-bytes", "1G"], {}, "decrease --max-model-len"),
    ],
)
async def test_what_cannot_start_says_what_to_change(engines, until, flags, env, said):
    code, log = await ended(engines.start(*flags, **env), until)

    assert code == 1
    assert said in log


async def test_unknown_flags_are_only_warned_about(engines):
    engine = await engines.ready("--enable-chunked-prefill", "--block-size", "32")

    assert "--enable-chunked-prefill --block-size 32" in engine.log.read_text()


async def test_an_engine_that_never_gets_ready_refuses_connections_and_still_stops(engines, until):
    engine = engines.start(LAB_FAULT="never_ready", scale=0.001)
    await until(lambda: "never" in engine.log.read_text())

    with pytest.raises(aiohttp.ClientConnectorError):
        await engine.get("/health")

    engine.process.terminate()
    assert (await ended(engine, until))[0] == 0


async def test_an_engine_can_crash_while_it_loads(engines, until, node):
    assert (await ended(engines.start(LAB_FAULT="crash_on_load"), until))[0] == 134
    assert node.used_mib(0) == 0


async def test_an_engine_can_crash_while_it_serves(engines, until, node):
    engine = await engines.ready()

    await engine.post("/lab/fault", {"kind": "crash"})

    assert (await ended(engine, until))[0] == 134
    assert node.used_mib(0) == 0


async def test_a_hanging_engine_answers_nothing_until_it_is_cleared(engines):
    engine = await engines.ready()
    await engine.post("/lab/fault", {"kind": "hang"})

    health = asyncio.ensure_future(engine.get("/health"))
    assert not (await asyncio.wait({health}, timeout=0.2))[0]

    await engine.post("/lab/fault", {"kind": "clear"})
    assert (await health)[0] == 200
    assert (await engine.chat(max_tokens=1))[0] == 200


async def test_a_wake_can_be_made_to_fail_so_many_times(engines, node):
    engine = await engines.ready()
    await engine.post("/sleep")
    await engine.post("/lab/fault", {"kind": "fail_wake", "times": 2})

    assert [(await engine.post("/wake_up"))[0] for _ in range(3)] == [500, 500, 200]


async def test_memory_can_be_kept_after_a_sleep(engines, node):
    engine = await engines.ready()
    await engine.post("/lab/fault", {"kind": "keep_memory_after_sleep", "mib": 3000})

    await engine.post("/sleep")

    assert node.used_mib(0) == 1600 + 3000
    assert (await engine.post("/wake_up"))[0] == 200


async def test_a_slow_engine_still_finishes(engines):
    engine = await engines.ready()
    await engine.post("/lab/fault", {"kind": "slow", "factor": 3})

    assert (await engine.chat(max_tokens=50, ignore_eos=True))[1]["usage"]["completion_tokens"] == 50


async def test_an_unknown_fault_is_refused_and_without_permission_there_is_none(engines):
    engine = await engines.ready()
    status, answer = await engine.post("/lab/fault", {"kind": "melt"})
    assert status == 400
    assert "melt" in answer["error"]["message"]

    calm = await engines.ready(INGLE_LAB_FAULTS="0", gpus=(1,))
    assert (await calm.post("/lab/fault", {"kind": "crash"}))[0] == 404
