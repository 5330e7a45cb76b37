"""vLLM's HTTP surface on a loaded engine. Sleep is in test_sleep.py, trouble in test_faults.py."""

import asyncio
import json
import signal


async def test_a_chat_answer_has_as_many_tokens_as_were_asked_for(engines):
    engine = await engines.ready()

    status, answer = await engine.chat(max_tokens=40, ignore_eos=True)

    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert len(answer["choices"][0]["message"]["content"].split()) == 40
    assert answer["usage"]["completion_tokens"] == 40


async def test_streamed_and_whole_answers_to_one_prompt_have_the_same_text(engines, model):
    engine = await engines.ready()
    messages = [{"role": "user", "content": "tell me of rivers"}]

    whole = (await engine.chat(max_tokens=60))[1]["choices"][0]["message"]["content"]
    events = await engine.stream(model=model, messages=messages, max_tokens=60)

    assert events[-1] == "[DONE]"
    chunks = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert chunks[0]["delta"]["role"] == "assistant"
    assert "".join(chunk["delta"]["content"] for chunk in chunks) == whole
    assert chunks[-1]["finish_reason"] in ("stop", "length")


async def test_a_stream_ends_with_usage_when_asked(engines, model):
    engine = await engines.ready()

    events = await engine.stream(
        "/v1/completions",
        model=model,
        prompt="once upon a time",
        max_tokens=30,
        ignore_eos=True,
        lab_prompt_tokens=777,
        stream_options={"include_usage": True},
    )

    last = json.loads(events[-2])
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 777, "completion_tokens": 30, "total_tokens": 807}
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-2])
    assert len(text.split()) == 30


async def test_a_seed_changes_the_text(engines):
    engine = await engines.ready()

    first, again, other = [(await engine.chat(seed=seed))[1]["choices"][0] for seed in (1, 1, 2)]

    assert first == again
    assert first != other


async def test_models_are_listed_by_their_served_names(engines, model):
    engine = await engines.ready("--served-model-name", "llama", "small")

    models = (await engine.get("/v1/models"))[1]["data"]

    assert [entry["id"] for entry in models] == ["llama", "small"]
    assert {entry["root"] for entry in models} == {model}
    assert {entry["max_model_len"] for entry in models} == {8192}
    assert (await engine.chat(model="small", max_tokens=1))[0] == 200
    assert (await engine.chat(model=model))[0] == 404


async def test_bad_requests_are_told_in_openai_form(engines):
    engine = await engines.ready()

    unknown = await engine.chat(model="gpt-9")
    long = await engine.chat(lab_prompt_tokens=8192)
    greedy = await engine.chat(lab_prompt_tokens=8000, max_tokens=1000)
    async with engine.client.post(engine.url + "/v1/chat/completions", data=b'{"model": ') as answer:
        broken = answer.status, await answer.json()

    assert unknown[0] == unknown[1]["error"]["code"] == 404
    assert unknown[1]["error"]["type"] == "NotFoundError"
    assert long[0] == greedy[0] == broken[0] == 400
    assert "maximum context length is 8192 tokens" in long[1]["error"]["message"]
    assert "1000 > 8192 - 8000" in greedy[1]["error"]["message"]
    assert "JSON" in broken[1]["error"]["message"]
    assert (await engine.get("/nowhere"))[0] == 404
    assert (await engine.get("/v1/completions"))[0] == 405


async def test_requests_beyond_the_limit_wait_and_a_client_that_leaves_frees_its_place(engines, until):
    engine = await engines.ready("--max-num-seqs", "1")
    await engine.slow_down()
    first, second = engine.begin(), engine.begin()
    await until(lambda: engine.metric("vllm:num_requests_running"), 1)
    await until(lambda: engine.metric("vllm:num_requests_waiting"), 1)
    assert await engine.metric("vllm:kv_cache_usage_perc") > 0

    first.cancel()
    await until(lambda: engine.metric("vllm:num_requests_waiting"), 0)
    assert await engine.metric("vllm:num_requests_running") == 1

    second.cancel()
    await until(lambda: engine.metric("vllm:num_requests_running"), 0)
    assert await engine.metric("vllm:kv_cache_usage_perc") == 0


async def test_requests_beyond_the_kv_cache_wait(engines, until):
    engine = await engines.ready("--kv-cache-memory-bytes", "1g", "--max-model-len", "auto")
    await engine.slow_down()
    for _ in range(2):
        engine.begin(max_tokens=5000)

    await until(lambda: engine.metric("vllm:num_requests_running"), 1)
    await until(lambda: engine.metric("vllm:num_requests_waiting"), 1)


async def test_tokens_and_first_tokens_are_counted(engines):
    engine = await engines.ready()

    await asyncio.gather(
        *(engine.chat(max_tokens=10, ignore_eos=True, lab_prompt_tokens=7) for _ in range(3))
    )

    assert await engine.metric("vllm:prompt_tokens_total") == 21
    assert await engine.metric("vllm:generation_tokens_total") == 30
    assert await engine.metric("vllm:time_to_first_token_seconds_count") == 3
    assert await engine.metric("vllm:cache_config_info") == 1


async def test_an_awake_engine_holds_weights_residue_and_kv_cache_and_draws_more_when_busy(
    engines, node, until
):
    engine = await engines.ready("--kv-cache-memory-bytes", "20G", "--max-num-seqs", "32")
    await engine.slow_down()
    assert node.used_mib(0) == 15316 + 1600 + 20 * 1024
    await until(lambda: node.gpu(0).draw_w > 100)
    assert node.gpu(0).draw_w < 200

    for _ in range(16):
        engine.begin(max_tokens=4000)

    await until(lambda: node.gpu(0).draw_w > 250)


async def test_tensor_parallel_splits_the_weights(engines, node):
    await engines.ready(
        "--tensor-parallel-size", "2", "--kv-cache-memory-bytes", "10G", model="Qwen/Qwen3-32B", gpus=(2, 3)
    )

    assert [node.used_mib(index) for index in (1, 2, 3)] == [0, *[62500 // 2 + 2970 + 10 * 1024] * 2]


async def test_an_engine_told_to_stop_finishes_what_runs_and_takes_no_more(engines, node, until):
    engine = await engines.ready()
    await engine.slow_down(60)
    running = engine.begin(max_tokens=1000)
    await until(lambda: engine.metric("vllm:num_requests_running"), 1)

    engine.process.send_signal(signal.SIGTERM)

    assert (await running)[1]["usage"]["completion_tokens"] == 1000
    await until(engine.process.poll, 0)
    assert node.used_mib(0) == 0


async def test_a_request_that_outlasts_the_grace_is_ended_with_an_error(engines, until):
    engine = await engines.ready(INGLE_LAB_GRACE_S="0.1")
    await engine.slow_down()
    running = engine.begin(max_tokens=8000)
    await until(lambda: engine.metric("vllm:num_requests_running"), 1)

    engine.process.send_signal(signal.SIGTERM)

    assert (await running)[0] == 503
    await until(engine.process.poll, 0)
