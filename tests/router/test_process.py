"""The whole process: settings, Envoy's configuration, a real API server, the end by SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from ingle_kit import names
from ingle_kit.kube import Conflict, Kube
from ingle_lab.controlplane.plane import ControlPlane

from .conftest import CHAT, ENVOY, next_address, start_envoy
from .engine import Engine

COMMAND = [sys.executable, "-m", "ingle_router.main"]
GROUP = "system:serviceaccounts:chat"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("INGLE_")} | environment
    return subprocess.run(
        [*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_envoy_accepts_the_printed_configuration(tmp_path: Path) -> None:
    printed = run("envoy-config", INGLE_LISTEN="127.8.8.8", INGLE_GATEWAY_LISTEN="127.8.8.9")
    assert printed.returncode == 0, printed.stderr
    config = tmp_path / "envoy.yaml"
    config.write_text(printed.stdout)
    checked = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", config], capture_output=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr
    listeners = yaml.safe_load(printed.stdout)["static_resources"]["listeners"]
    addresses = [listener["address"]["socket_address"]["address"] for listener in listeners]
    assert addresses == ["127.8.8.9", "127.8.8.8"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "INGLE_LISTEN"),
        ({"INGLE_LISTEN": "127.8.8.8", "INGLE_TOKEN_KNOWN_S": "11"}, "INGLE_TOKEN_KNOWN_S"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], said: str) -> None:
    result = run("envoy-config", **environment)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.fixture(scope="module")
def plane(bare_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> ControlPlane:
    asyncio.run(_install(handover(bare_plane)))
    return bare_plane


async def _install(plane: ControlPlane) -> None:
    async with Kube.connect(user_agent="tests", kubeconfig=str(plane.kubeconfig)) as kube:
        with contextlib.suppress(Conflict):  # made for other tests before
            await kube.create(names.NAMESPACE, {"metadata": {"name": "chat"}})
        await kube.create(names.SERVICE_ACCOUNT, {"metadata": {"name": "alice", "namespace": "chat"}})


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[Kube]:
    async with Kube.connect(user_agent="tests", kubeconfig=str(plane.kubeconfig)) as kube:
        yield kube


async def _pool_and_policy(kube: Kube) -> None:
    variant = {
        "name": "bf16",
        "gpus": 1,
        "memoryMiB": {"awake": 1000, "asleep": 100, "host": 1000},
        "watts": {"busy": 300, "idle": 90},
    }
    engine = {"kind": "VLLM", "image": "vllm", "weights": {"claimName": "m", "path": "p", "sizeMiB": 1}}
    spec: dict[str, Any] = {"model": "org/llama", "engine": engine, "variants": [variant]}
    meta = {"name": "llama", "namespace": "chat"}
    kind = names.INFERENCE_POOL
    await kube.create(
        kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec}
    )
    rules = [{"name": "chat-only", "allow": f"'{GROUP}' in user.groups"}]
    kind = names.ROUTING_POLICY
    spec = {"models": ["org/llama"], "permissions": rules}
    await kube.create(
        kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec}
    )


async def _engine(kube: Kube, listen: str, stack: AsyncExitStack) -> Engine:
    """A pod that a stand-in kubelet would report as running but asleep."""
    ip = listen.rpartition(".")[0] + ".10"
    meta = {"name": "e", "namespace": "chat", "labels": {names.LABEL_POOL: "llama"}}
    gates = [{"conditionType": names.GATE_AWAKE}]
    spec = {
        "containers": [{"name": "engine", "image": "vllm"}],
        "readinessGates": gates,
        "schedulerName": "none",
    }
    pod = await kube.create(names.POD, {"metadata": meta, "spec": spec})
    await kube.merge_patch(
        names.POD,
        "e",
        {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}},
        "chat",
        "status",
    )
    engine = Engine(f"{ip}:8000", pod["metadata"]["uid"])
    runner = web.AppRunner(engine.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, ip, 8000).start()
    return engine


async def _wake(kube: Kube) -> None:
    condition = {"type": names.GATE_AWAKE, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = {"status": {"conditions": [condition]}}
    await kube.merge_patch(names.POD, "e", patch, "chat", "status")


async def test_a_held_request_is_served_when_the_pods_condition_turns(
    plane: ControlPlane, kube: Kube, tmp_path: Path
) -> None:
    """Real tokens, real watches, real Envoy; then SIGTERM ends the process while a stream is let to its end."""
    listen = next_address()
    async with AsyncExitStack() as stack:
        await _pool_and_policy(kube)
        engine = await _engine(kube, listen, stack)
        env = os.environ | {"INGLE_LISTEN": listen, "INGLE_KUBECONFIG": str(plane.kubeconfig)}
        log = stack.enter_context((tmp_path / "router.log").open("wb"))
        router = await asyncio.create_subprocess_exec(*COMMAND, env=env, stdout=log, stderr=log)
        stack.callback(lambda: router.kill() if router.returncode is None else None)
        await start_envoy(listen, run("envoy-config", INGLE_LISTEN=listen).stdout, tmp_path, stack)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
        await _until_healthy(http, listen)
        alice = plane.service_account_token("chat", "alice", audiences=[names.AUDIENCE])
        wrong = plane.service_account_token("chat", "alice")
        stranger = plane.service_account_token("kube-system", "default", audiences=[names.AUDIENCE])
        assert await _status(http, listen, wrong) == 401
        assert await _status(http, listen, stranger) == 403
        assert json.loads(await _metrics_pool(http, listen, "waiting")) == 0
        async with _ask(http, listen, alice) as response:
            assert await response.content.readuntil(b"\n\n") == b": waiting\n\n"
            engine.answer.clear()
            await _wake(kube)
            while not engine.open:
                assert await response.content.readuntil(b"\n\n")
            router.send_signal(signal.SIGTERM)
            engine.answer.set()
            assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
        assert await asyncio.wait_for(router.wait(), 10) == 0
        assert alice not in (tmp_path / "router.log").read_text()


def _ask(http: aiohttp.ClientSession, listen: str, token: str) -> Any:
    body = {"model": "org/llama", "stream": True}
    headers = {"authorization": f"Bearer {token}"}
    return http.post(f"http://{listen}:{names.PORT_GATEWAY}{CHAT}", json=body, headers=headers)


async def _status(http: aiohttp.ClientSession, listen: str, token: str) -> int:
    async with _ask(http, listen, token) as response:
        return int(response.status)


async def _metrics_pool(http: aiohttp.ClientSession, listen: str, what: str) -> str:
    async with http.get(f"http://{listen}:{names.PORT_ROUTER}/metrics") as response:
        text = await response.text()
    line = next(x for x in text.splitlines() if x.startswith(f'ingle_router_{what}{{pool="chat/llama"}}'))
    return line.rpartition(" ")[2]


async def _until_healthy(http: aiohttp.ClientSession, listen: str) -> None:
    async with asyncio.timeout(20):
        while not await _is_healthy(http, listen):  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.05)


async def _is_healthy(http: aiohttp.ClientSession, listen: str) -> bool:
    try:
        async with http.get(f"http://{listen}:{names.PORT_ROUTER}/healthz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
