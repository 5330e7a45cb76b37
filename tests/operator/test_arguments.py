"""What each kind of engine is started with, and what a level of sleep changes in its pod and its claim."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.warmpool.tiers import Level
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.objects.asks import placement_ask
from ingle_operator.adapters import ADAPTERS
from ingle_operator.adapters.spare import launcher_port
from ingle_operator.launcher import Launcher, with_launcher
from ingle_operator.parse import engine_pod_of, pool_of
from ingle_operator.render import engine_pod, revision_of


def spec_of(bodies: Any, kind: str, level: str = "L1") -> InferencePoolSpec:
    warm = {"asleep": 0 if kind == "Custom" else 1, "idleSeconds": 1, "level": level}
    body = bodies.pool(engine={"kind": kind, "image": "i", "args": ["--own"]}, warm=warm)["spec"]
    variant = body["variants"][0]
    variant["contextTokens"] = 4096
    variant["memoryMiB"] |= {"host": 17000, "kvCache": 1000}
    return InferencePoolSpec.model_validate(body)


def pod_of(bodies: Any, kind: str, level: str = "L1") -> dict[str, Any]:
    spec = spec_of(bodies, kind, level)
    pool = bodies.pool()
    pool["metadata"] |= {"uid": "u", "generation": 1}
    return engine_pod(pool_of(pool), spec, spec.variants[0], "p-1")


def container(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def test_vllm_gets_sleep_mode_and_the_bytes_of_its_kv_cache(bodies: Any) -> None:
    made = container(pod_of(bodies, "VLLM"))
    assert made["args"] == [
        *("--model", "model-p", "--served-model-name", "model-p", "--host", "$(POD_IP)", "--port", "8000"),
        *("--tensor-parallel-size", "1", "--enable-sleep-mode", "--max-model-len", "4096"),
        *("--kv-cache-memory-bytes", str(1000 << 20), "--own"),
    ]
    assert {"name": "VLLM_SERVER_DEV_MODE", "value": "1"} in made["env"]
    assert "command" not in made


@pytest.mark.parametrize(("level", "backup"), [("L1", True), ("L2", False)])
def test_sglang_gets_memory_saver_and_a_copy_of_its_weights_only_for_level_1(
    bodies: Any, level: str, backup: bool
) -> None:
    made = container(pod_of(bodies, "SGLang", level))
    assert made["command"] == ["python3", "-m", "sglang.launch_server"]
    assert "--enable-memory-saver" in made["args"]
    assert ("--enable-weights-cpu-backup" in made["args"]) is backup
    assert made["args"][-1] == "--own"
    assert {"name": "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "value": "false"} in made["env"]


def test_a_custom_engine_gets_its_own_arguments_alone(bodies: Any) -> None:
    assert container(pod_of(bodies, "Custom"))["args"] == ["--own"]


def test_the_launcher_starts_what_the_kind_starts(bodies: Any) -> None:
    launcher = Launcher("l", ("vllm", "serve"))
    for kind, starts in (("VLLM", ["vllm", "serve"]), ("SGLang", ["python3", "-m", "sglang.launch_server"])):
        pod_spec = with_launcher(pod_of(bodies, kind)["spec"], spec_of(bodies, kind), launcher)
        command = pod_spec["containers"][0]["command"]
        assert command[command.index("--") + 1 :] == starts


def test_a_spare_starts_the_module_of_its_kind_in_the_launcher_and_is_probed_there(bodies: Any) -> None:
    launcher = Launcher("l", ("vllm", "serve"), "s")
    for kind, module in (
        ("VLLM", "vllm.entrypoints.openai.api_server"),
        ("SGLang", "sglang.launch_server"),
    ):
        pod = pod_of(bodies, kind, "Spare")
        pod_spec = with_launcher(pod["spec"], spec_of(bodies, kind, "Spare"), launcher)
        made = pod_spec["containers"][0]
        words = made["command"]
        assert words[:4] == ["python3", "/ingle/launch.py", "--", "python3"]
        assert words[words.index("--module") + 1] == module
        assert (words[words.index("--port") + 1], words[-1]) == ("8001", "--")
        assert made["livenessProbe"]["httpGet"]["port"] == made["readinessProbe"]["httpGet"]["port"] == 8001
        assert [init["image"] for init in pod_spec["initContainers"]] == ["l", "s"]
        assert not {"--enable-sleep-mode", "--enable-memory-saver"} & set(made["args"])
        pod["metadata"]["uid"] = "u"
        need = engine_pod_of(pod).need
        assert (need.level, need.asleep_mib, need.host_mib) == (Level.SPARE, 0, 0)


def test_the_last_port_there_is_has_its_launcher_before_it() -> None:
    assert (launcher_port(8000), launcher_port(65535)) == (8001, 65534)


def test_level_2_claims_no_host_memory_and_is_another_revision(bodies: Any) -> None:
    first, second = spec_of(bodies, "VLLM"), spec_of(bodies, "VLLM", "L2")
    asks = [placement_ask("default/p", s, s.variants[0]) for s in (first, second)]
    assert [ask["memoryMiB"]["host"] for ask in asks] == [17000, 0]
    assert revision_of(first, first.variants[0]) != revision_of(second, second.variants[0])
    pods = [pod_of(bodies, "VLLM", level) for level in ("L1", "L2")]
    resources = [container(pod)["resources"] for pod in pods]
    assert [r["requests"]["memory"] for r in resources] == ["19048Mi", "2048Mi"]
    assert [r["limits"]["memory"] for r in resources] == ["19048Mi", "19048Mi"]
    pods[1]["metadata"]["uid"] = "u"
    need = engine_pod_of(pods[1]).need
    assert (need.level, need.engine, need.host_mib) == (Level.L2, "VLLM", 0)


def test_every_kind_that_a_pool_may_name_has_an_adapter() -> None:
    kinds = InferencePoolSpec.model_json_schema()["$defs"]["Engine"]["properties"]["kind"]["enum"]
    assert sorted(kinds) == sorted(ADAPTERS)
