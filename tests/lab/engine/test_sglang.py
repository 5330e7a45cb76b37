"""The stand-in as SGLang: release and resume, what it does not bear, and weights from disk."""

import aiohttp
import pytest

RELEASE, RESUME = "/release_memory_occupation", "/resume_memory_occupation"
QUIET = {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "false"}


@pytest.fixture
def sglang(engines):
    """sglang(*flags, **env): one that serves."""

    async def start(*flags, **env):
        return await engines.ready("--enable-memory-saver", *flags, kind="sglang", **(QUIET | env))

    return start


async def ended(engine, until):
    await until(lambda: engine.process.poll() is not None)


async def test_it_gives_its_memory_back_in_one_and_takes_it_in_parts(sglang, node, model):
    engine = await sglang("--enable-weights-cpu-backup")
    awake_mib = node.used_mib(0)

    assert (await engine.post(RELEASE, {"tags": ["kv_cache", "weights"]}))[0] == 200
    assert node.used_mib(0) == 1600
    assert await engine.metric("lab:host_backup_bytes") == 15316 << 20
    assert (await engine.get("/health"))[0] == 200
    assert (await engine.post(RESUME, {"tags": ["weights"]}))[0] == 200
    assert (await engine.post(RESUME, {"tags": ["kv_cache"]}))[0] == 200

    assert node.used_mib(0) == awake_mib
    assert (await engine.chat(max_tokens=1))[0] == 200
    assert await engine.metric("sglang:num_running_reqs") == 0
    assert await engine.metric("lab:answers_without_weights_total") == 0


async def test_without_a_copy_in_host_memory_it_reads_its_weights_from_disk(sglang):
    engine = await sglang()
    await engine.post(RELEASE, {"tags": ["kv_cache", "weights"]})
    assert await engine.metric("lab:host_backup_bytes") == 0
    await engine.post(RESUME, {"tags": ["weights"]})
    path = (await engine.get("/model_info"))[1]["model_path"]

    status, answer = await engine.post("/update_weights_from_disk", {"model_path": "elsewhere"})
    assert (status, answer["success"]) == (400, False)
    status, answer = await engine.post("/update_weights_from_disk", {"model_path": path})
    assert (status, answer["success"]) == (200, True)
    await engine.post(RESUME, {"tags": ["kv_cache"]})

    assert (await engine.chat(max_tokens=1))[0] == 200
    assert await engine.metric("lab:answers_without_weights_total") == 0


@pytest.mark.parametrize("calls", [[RELEASE, RELEASE], [RESUME]], ids=["released twice", "resumed awake"])
async def test_it_ends_when_it_is_told_what_is_so_already(sglang, until, calls):
    engine = await sglang()
    for path in calls[:-1]:
        assert (await engine.post(path, {}))[0] == 200
    with pytest.raises(aiohttp.ClientError):
        await engine.post(calls[-1], {})
    await ended(engine, until)


async def test_it_ends_when_it_is_released_while_a_request_runs_and_flushing_tells_of_that(sglang, until):
    engine = await sglang()
    assert (await engine.post("/flush_cache"))[0] == 200
    await engine.slow_down()
    engine.begin()
    await until(lambda: engine.metric("sglang:num_running_reqs"), 1)
    async with engine.client.post(engine.url + "/flush_cache") as answer:
        assert answer.status == 400
    with pytest.raises(aiohttp.ClientError):
        await engine.post(RELEASE, {})
    await ended(engine, until)


async def test_its_health_makes_a_token_unless_told_not_to_which_ends_a_sleeper(sglang, until):
    engine = await sglang(SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION="true")
    await engine.post(RELEASE, {})
    with pytest.raises(aiohttp.ClientError):
        await engine.get("/health")
    await ended(engine, until)
