"""A model that sleeps gives its GPU memory back and wakes for a request."""

from __future__ import annotations

from ingle_kit.names import ANNOTATION_GPUS
from ingle_lab.demo import steps
from ingle_lab.demo.scene import WARM_POOLS, Scene


async def test_engines_are_placed_by_our_scheduler_on_gpus_that_the_ledger_names(scene: Scene) -> None:
    for pool in WARM_POOLS:
        (pod,) = scene.engines(pool)
        uid, uuids = pod["metadata"]["uid"], set(pod["metadata"]["annotations"][ANNOTATION_GPUS].split(","))
        assert pod["spec"]["schedulerName"] == "ingle"
        node = scene.gpu_nodes.store[("", pod["spec"]["nodeName"])]
        claimed = {g["uuid"] for g in node["spec"]["gpus"] if any(c["podUID"] == uid for c in g["claims"])}
        assert claimed == uuids


async def test_gpu_memory_rises_with_a_wake_and_drops_with_sleep_as_nvml_reads_it(scene: Scene) -> None:
    witness = scene.witness
    assert witness is not None
    (pod,) = scene.engines("llama-8b")
    uuid = pod["metadata"]["annotations"][ANNOTATION_GPUS]
    asleep_mib = witness.used_mib(uuid)
    answer = await scene.clients["team"].ask("llama-8b")
    assert answer.good, answer
    await scene.until("its memory to be back", lambda: witness.used_mib(uuid) > 4 * asleep_mib)
    await scene.all_asleep("llama-8b")
    await scene.until("its memory to be given back", lambda: witness.used_mib(uuid) <= asleep_mib)


async def test_a_request_is_held_with_comments_while_its_model_wakes_and_a_hot_one_is_not_held(
    scene: Scene,
) -> None:
    await steps.first_tokens(scene)
    figures = scene.figures
    assert figures["ttft_hot_s"] < figures["ttft_asleep_s"] < figures["ttft_cold_s"]
