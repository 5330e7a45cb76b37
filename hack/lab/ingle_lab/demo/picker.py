"""What the endpoint picker adds to a hot request: through the gateway, and through an Envoy without it."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from ingle_lab.demo.scene import Scene, StepFailed
from ingle_lab.stack.nodes import envoy_binary

BLOCKS = 20
REQUESTS_A_BLOCK = 50
PLAIN_ADDRESS = "127.20.0.200"
PLAIN_PORT = 8090
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


async def picker_cost(scene: Scene) -> None:
    """2 000 requests on one connection each, in alternating blocks; the difference of the medians."""
    total = 2 * BLOCKS * REQUESTS_A_BLOCK
    scene.head(f"Picker: {total} hot requests, one connection, with and without it in alternating blocks")
    warm = await scene.clients["team"].ask("llama-8b")
    if not warm.good:
        raise StepFailed(f"llama-8b: {warm.status} {warm.fault} {warm.message}")
    engine = scene.engines("llama-8b")[0]["status"]["podIP"]
    process = await _plain_envoy(scene.stack.lab, engine)
    try:
        with_ms, without_ms = await _measure(scene)
    finally:
        process.terminate()
        await process.wait()
    added_ms = statistics.median(with_ms) - statistics.median(without_ms)
    scene.figures |= {
        "picker_requests": len(with_ms) + len(without_ms),
        "picker_added_ms_p50": round(added_ms, 2),
        "gateway_ms_p50": round(statistics.median(with_ms), 2),
        "envoy_alone_ms_p50": round(statistics.median(without_ms), 2),
    }
    scene.say(
        f"p50 {scene.figures['gateway_ms_p50']} ms through the gateway, "
        f"{scene.figures['envoy_alone_ms_p50']} ms through Envoy alone: {scene.figures['picker_added_ms_p50']} ms added"
    )


async def _measure(scene: Scene) -> tuple[list[float], list[float]]:
    with_ms: list[float] = []
    without_ms: list[float] = []
    token = scene.clients["team"].token
    plain = f"http://{PLAIN_ADDRESS}:{PLAIN_PORT}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(BLOCKS):
            for url, taken in ((scene.stack.gateway, with_ms), (plain, without_ms)):
                for _ in range(REQUESTS_A_BLOCK):
                    taken.append(await _one_ms(session, url, token))
    return with_ms, without_ms


async def _one_ms(session: aiohttp.ClientSession, url: str, token: str) -> float:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    started_s = time.perf_counter()
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
        await reply.read()
        if reply.status != 200:
            raise StepFailed(f"{url}: status {reply.status}")
    return 1000 * (time.perf_counter() - started_s)


async def _plain_envoy(lab: Path, engine: str) -> asyncio.subprocess.Process:
    """An Envoy with one route to one engine: the floor that the picker is compared with."""
    path = lab / "plain-envoy.yaml"
    path.write_text(yaml.safe_dump(_config(engine)))
    with (lab / "logs" / "plain-envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(envoy_binary()),
            "-c",
            str(path),
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            stdout=log,
            stderr=log,
        )
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection(PLAIN_ADDRESS, PLAIN_PORT)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return process
    process.kill()
    raise StepFailed("the Envoy without a picker did not start: see logs/plain-envoy.log")


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _config(engine: str) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "engine"}}],
                }
            ]
        },
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {
        "name": "in",
        "address": _address(PLAIN_ADDRESS, PLAIN_PORT),
        "filter_chains": [{"filters": filters}],
    }
    endpoint = {"endpoint": {"address": _address(engine, 8000)}}
    assignment = {"cluster_name": "engine", "endpoints": [{"lb_endpoints": [endpoint]}]}
    cluster = {"name": "engine", "type": "STATIC", "connect_timeout": "2s", "load_assignment": assignment}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
