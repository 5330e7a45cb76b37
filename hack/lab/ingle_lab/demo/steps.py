"""The lines of the demonstration, in order. Each measures what it shows and fails when it does not."""

from __future__ import annotations

import asyncio
import time

from ingle_kit.names import ANNOTATION_GPUS, POWER_BUDGET
from ingle_lab.demo.clients import Answer
from ingle_lab.demo.scene import (
    BUDGET,
    COLD_POOL,
    NAMESPACE,
    WARM_POOLS,
    Scene,
    StepFailed,
    apply_examples,
    make_clients,
    start_witness,
)

CUT_W = 7050  # a third less, as far as one wake still fits on the node with the smallest floor


def check(good: bool, seen: str) -> None:
    if not good:
        raise StepFailed(seen)


async def nodes_register(scene: Scene) -> None:
    """1. Three nodes of eight GPUs, read through NVML."""
    scene.head("1. Nodes, as their agents read them through NVML (simulated GPUs)")
    for (_, name), node in sorted(scene.gpu_nodes.store.items()):
        gpus = node["status"]["gpus"]
        zones = ",".join(str(g.get("numa", "?")) for g in gpus)
        watts = gpus[0]["watts"]
        scene.say(
            f"{name}: {len(gpus)} x {gpus[0]['product']}, {gpus[0]['memoryMiB']['total']} MiB, "
            f"{watts['min']}-{watts['max']} W, NUMA zones {zones}"
        )
        check(len(gpus) == 8, f"{name} has {len(gpus)} GPUs")


async def pools_become_ready(scene: Scene) -> None:
    """2. Pools applied, engines placed, loaded, probed, idle, asleep; their memory really drops."""
    scene.head("2. Four InferencePools, placed by our scheduler, loaded, probed, then asleep")
    await apply_examples(scene)
    await start_witness(scene)
    await make_clients(scene)
    await scene.until("all pools to be ready to answer", lambda: _ready(scene), 120)
    scene.figures["second_start_s"] = round(time.time() - scene.started_at_s, 1)
    scene.say(f"all pools ready to answer {scene.figures['second_start_s']} s after the command")
    assert scene.witness is not None
    awake_mib = {name: _used_mib(scene, name) for name in WARM_POOLS}
    await scene.all_asleep(*WARM_POOLS)
    for name in WARM_POOLS:
        pod = scene.engines(name)[0]
        gpus = pod["metadata"]["annotations"][ANNOTATION_GPUS]
        asleep_mib = _used_mib(scene, name)
        scene.say(
            f"{name}: {pod['metadata']['name']} on {pod['spec']['nodeName']}, {gpus}; "
            f"NVML {awake_mib[name]} MiB a GPU awake, {asleep_mib} MiB asleep"
        )
        check(asleep_mib < awake_mib[name] / 4, f"{name} keeps {asleep_mib} of {awake_mib[name]} MiB asleep")


def _ready(scene: Scene) -> bool:
    for name in WARM_POOLS:
        counts = scene.replicas(name)
        if not counts.get("awake") and not counts.get("asleep"):
            return False
    return scene.condition(COLD_POOL, "Ready").get("status") == "True"


def _used_mib(scene: Scene, pool: str) -> int:
    assert scene.witness is not None
    pod = scene.engines(pool)[0]
    first = pod["metadata"]["annotations"][ANNOTATION_GPUS].split(",")[0]
    return scene.witness.used_mib(first)


async def first_tokens(scene: Scene) -> None:
    """3. Time to first token: hot, asleep, cold."""
    scene.head("3. Time to first token of a streaming request")
    team = scene.clients["team"]
    asleep = await team.ask("llama-8b")
    hot = await team.ask("llama-8b")
    cold = await team.ask(COLD_POOL)
    for name, answer in (("asleep", asleep), ("hot", hot), ("cold", cold)):
        check(answer.good, f"{name}: status {answer.status} {answer.fault} {answer.message}")
        scene.figures[f"ttft_{name}_s"] = round(answer.first_token_s, 3)
        scene.say(
            f"{name:7} {answer.first_token_s:6.3f} s to the first token, {answer.comments} SSE comments before it"
        )
    check(asleep.comments > 0, "the held request saw no SSE comment")
    check(hot.comments == 0, "the hot request was held")


async def permissions(scene: Scene) -> None:
    """4. A caller without permission gets 403 that names the rule."""
    scene.head("4. Who may ask")
    refused = await scene.clients["guest"].ask("mistral-7b")
    scene.say(f"guest asks mistral-7b: {refused.status} {refused.message}")
    check(refused.status == 403 and "no-guests" in refused.message, f"{refused.status} {refused.message}")


async def power_cut(scene: Scene) -> None:
    """5. The budget is cut by a third; a wake that no longer fits is refused, and the policy's fallback answers."""
    scene.head("5. PowerBudget cut by a third")
    await scene.all_asleep(*WARM_POOLS)
    await _cold_is_gone(scene)
    started_s = time.monotonic()
    await _set_watts(scene, CUT_W)
    await scene.until(f"capWatts to reach {CUT_W}", lambda: _cap_w(scene) <= CUT_W, 30)
    scene.figures["cap_reached_s"] = round(time.monotonic() - started_s, 2)
    scene.say(f"capWatts is {_cap_w(scene)} W {scene.figures['cap_reached_s']} s after the patch")
    check(scene.figures["cap_reached_s"] <= 5, "the new cap took more than 5 s")
    first = await scene.clients["team"].ask("llama-8b")
    check(first.good, f"llama-8b: {first.status} {first.fault} {first.message}")
    scene.say(f"llama-8b fits: woken, first token after {first.first_token_s:.3f} s")
    second = asyncio.create_task(scene.clients["team"].ask("mistral-7b"))
    told = await scene.until("the refusal on the pool", lambda: _refusal(scene, "mistral-7b"), 30)
    scene.say(f"mistral-7b: Ready=False {told['reason']}: {told['message']}")
    answer = await second
    scene.say(f"its request was answered by {answer.served_by or '?'}: status {answer.status} {answer.fault}")
    check(answer.good, f"mistral-7b: {answer.status} {answer.fault} {answer.message}")
    check(answer.served_by == "chat/llama-8b", f"not the fallback but {answer.served_by} answered")
    scene.figures["fallback_status"] = answer.status
    await _set_watts(scene, 10500)
    await scene.until("capWatts to rise again", lambda: _cap_w(scene) == 10500, 30)
    await scene.until("mistral-7b to be servable again", lambda: _refusal(scene, "mistral-7b") is None, 30)
    third = await scene.clients["team"].ask("mistral-7b")
    scene.say(f"budget back at 10500 W: mistral-7b answered by {third.served_by}: status {third.status}")
    check(
        third.good and third.served_by == "chat/mistral-7b", f"{third.status} {third.fault} {third.served_by}"
    )


def _cap_w(scene: Scene) -> int:
    budget = scene.budgets.store[("", BUDGET)]
    return int((budget.get("status") or {}).get("capWatts", 1_000_000))


def _refusal(scene: Scene, pool: str) -> dict[str, str] | None:
    ready = scene.condition(pool, "Ready")
    return ready if ready.get("status") == "False" and ready.get("reason") == "InsufficientWatts" else None


async def _set_watts(scene: Scene, watts: int) -> None:
    await scene.stack.api.merge_patch(POWER_BUDGET, BUDGET, {"spec": {"watts": watts}})


async def _cold_is_gone(scene: Scene) -> None:
    await scene.until(f"{COLD_POOL} to stop", lambda: not scene.engines(COLD_POOL))


async def operator_killed(scene: Scene) -> None:
    """6. kill -9 of the operator in the middle of a wake; nothing is lost or doubled."""
    scene.head("6. The operator is killed with -9 in the middle of a wake")
    await scene.all_asleep("qwen-32b")
    pod = scene.engines("qwen-32b")[0]
    uid = pod["metadata"]["uid"]
    request = asyncio.create_task(scene.clients["team"].ask("qwen-32b"))
    await _until_waking(scene, uid)
    killed = await scene.stack.kill("ingle-operator-0", "operator")
    scene.say(f"operator (pid {killed}) killed while the ledger says {scene.holder(uid).get('state')}")
    answer: Answer = await request
    scene.say(f"request answered after {answer.total_s:.1f} s: status {answer.status} {answer.fault}")
    check(answer.good, f"{answer.status} {answer.fault} {answer.message}")
    await scene.until(
        "the engine to be awake in the ledger", lambda: scene.holder(uid).get("state") == "Awake", 30
    )
    pods = scene.engines("qwen-32b")
    claims = sum(
        uid in str(gpu["claims"]) for n in scene.gpu_nodes.store.values() for gpu in n["spec"]["gpus"]
    )
    scene.say(f"{len(pods)} engine, {claims} GPU claims, epoch {scene.holder(uid).get('epoch')}")
    check(len(pods) == 1 and claims == 2, f"{len(pods)} engines and {claims} claims of a pod with two GPUs")
    scene.figures["killed_wake_answer_s"] = round(answer.total_s, 2)


async def _until_waking(scene: Scene, uid: str) -> None:
    deadline_s = time.monotonic() + 30
    while scene.holder(uid).get("state") != "Waking":
        check(time.monotonic() < deadline_s, f"no wake began: {scene.holder(uid)} in {NAMESPACE}")
        await asyncio.sleep(0.005)
