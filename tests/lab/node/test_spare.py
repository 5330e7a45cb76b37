"""The spare launcher as pools get it, copied by an init container, with the engine's stand-in in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from ingle_kit.kube import Object
from ingle_lab.engine.life import IMPORT_SHARE
from ingle_lab.engine.profile import MIB, profile_of
from ingle_lab.gpu import gpu_uuid, read_gpus
from ingle_lab.node.config import Image
from ingle_lab.stack.nodes import LabNode, base_environment, images, prepare_node

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
TIME_SCALE = 0.01
SHARED = {"name": "launchers", "mountPath": "/ingle"}
VLLM = ("vllm/vllm-openai:v0.14.0", "vllm.entrypoints.openai.api_server", "--model")
SGLANG = ("lmsysorg/sglang:v0.5.9", "sglang.launch_server", "--model-path")


def spare_of(image: str, module: str, flag: str) -> Object:
    """A pod's spec: the copy, then the launcher with the engine's module, and the engine's arguments after it."""
    command = ["python3", "/ingle/launch.py", "--", "python3", "/ingle/spare.py", "--port", "8001"]
    own = ["--engine-port", "8000", "--module", module, "--", flag, MODEL]
    installers = [
        {
            "name": name,
            "image": "ingle.dev/ingle:lab",
            "command": [f"ingle-{name}", "--install", f"/ingle/{name}.py"],
            "volumeMounts": [SHARED],
        }
        for name in ("launch", "spare")
    ]
    engine = {
        "name": "engine",
        "image": image,
        "command": [*command, *own],
        "args": ["--host", "$(POD_IP)", "--port", "8000"],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CUDA_VISIBLE_DEVICES", "value": gpu_uuid("n", 0)},
        ],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8001}, "periodSeconds": 1},
        "volumeMounts": [SHARED],
    }
    volume = {"name": "launchers", "emptyDir": {}}
    return {"initContainers": installers, "containers": [engine], "volumes": [volume]}


@pytest.mark.parametrize("kind", [VLLM, SGLANG], ids=["vllm", "sglang"])
async def test_a_spare_holds_no_gpu_memory_and_loads_without_the_imports(
    kind: tuple[str, str, str], start_lab: Any, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    env = base_environment() | prepare_node(tmp_path, LabNode("n", "h100x8"), TIME_SCALE)
    table = {
        name: Image(**entry) if isinstance(entry, dict) else entry
        for name, entry in images(tmp_path, Path("kube-scheduler")).items()
    }
    lab = await start_lab(msgspec.structs.replace(make_config(env=env), images=table))
    name = await lab.create("spare", spare_of(*kind))
    pod = await lab.until_ready(name)

    def used_mib() -> int:
        return read_gpus(tmp_path / "nodes" / "n" / "gpus.state")[0].used_bytes // MIB

    bare_mib, profile = used_mib(), profile_of(MODEL)
    async with aiohttp.ClientSession(f"http://{pod['status']['podIP']}:8001") as client:

        async def call(method: str, path: str) -> tuple[int, str]:
            async with client.request(method, path) as answer:
                return answer.status, (await answer.json())["state"]

        assert await call("GET", "/state") == (200, "Spare")
        for _ in range(2):
            assert await call("POST", "/load") == (200, "Loaded")
            assert await call("GET", "/health") == (200, "Loaded")
            assert used_mib() - bare_mib >= profile.weights_mib
            assert await call("POST", "/unload") == (200, "Spare")
            assert used_mib() == bare_mib
    said = lab.log(name, "engine")
    imports_s = float(re.findall(r"INFO imports take ([\d.]+) s", said)[0])
    assert imports_s == pytest.approx(profile.load_s * IMPORT_SHARE * TIME_SCALE, abs=1e-3)
    assert (said.count("imports take"), said.count("loaded after")) == (1, 2)
