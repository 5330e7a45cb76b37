"""Real engine processes on loopback, with a real GPU state file that they share."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingle_lab.gpu import GpuReading, create_state, read_gpus

HOST = "127.41.0.1"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
WAIT_S = 20.0


@dataclass
class Node:
    """A node's GPUs."""

    state: Path
    uuids: list[str]

    def gpu(self, index: int) -> GpuReading:
        return read_gpus(self.state)[index]

    def used_mib(self, index: int) -> int:
        return self.gpu(index).used_bytes >> 20


@dataclass
class Engine:
    """One engine process and a client for it."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    client: aiohttp.ClientSession
    tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(self.url + path) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.client.post(self.url + path, json=body) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else await answer.text()

    async def chat(self, **more: Any) -> tuple[int, Any]:
        return await self.post("/v1/chat/completions", chat_body(**more))

    async def stream(self, path: str = "/v1/chat/completions", **body: Any) -> list[str]:
        """The data of all events of a streamed answer."""
        async with self.client.post(self.url + path, json={**body, "stream": True}) as answer:
            assert answer.status == 200, await answer.text()
            text = await answer.text()
        return [line.removeprefix("data: ") for line in text.splitlines() if line]

    def begin(self, **more: Any) -> "asyncio.Task[tuple[int, Any]]":
        """A request in the background that would take long."""
        more = {"max_tokens": 8000, "ignore_eos": True, **more}
        task = asyncio.ensure_future(self.chat(**more))
        self.tasks.append(task)
        return task

    async def slow_down(self, factor: float = 100) -> None:
        """What is asked from now on takes that much longer; loading and sleeping do not."""
        assert (await self.post("/lab/fault", {"kind": "slow", "factor": factor}))[0] == 200

    async def metric(self, name: str) -> float:
        """The value of the one sample that starts like this."""
        async with self.client.get(self.url + "/metrics") as answer:
            text = await answer.text()
        found = [line for line in text.splitlines() if line.startswith(name)]
        assert len(found) == 1, f"{name}: {found}"
        return float(found[0].rsplit(" ", 1)[1])

    async def sleep_state(self) -> str:
        for state in ("awake", "weights_offloaded", "discard_all"):
            labels = f'model_name="{MODEL}",engine="0",sleep_state="{state}"'
            if await self.metric(f"vllm:engine_sleep_state{{{labels}}}") == 1:
                return state
        return "none"


def chat_body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "tell me of rivers"}], **more}


async def until(what: Callable[[], Any], wanted: Any = True) -> None:
    """Waits for a state; `what` may be a coroutine function."""
    deadline = time.monotonic() + WAIT_S
    while True:
        value = what()
        if asyncio.iscoroutine(value):
            value = await value
        if value == wanted:
            return
        assert time.monotonic() < deadline, f"is {value!r}, never became {wanted!r}"
        await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture() -> Any:
    return until


@pytest.fixture
def model() -> str:
    return MODEL


@pytest.fixture
def node(tmp_path: Path) -> Node:
    state = tmp_path / "gpus.state"
    return Node(state, create_state(state, "h100x8", "gpu-1"))


@dataclass
class Launcher:
    """Starts engine processes; they end with the test."""

    node: Node
    folder: Path
    client: aiohttp.ClientSession
    started: list[Engine] = field(default_factory=list)

    def start(
        self,
        *flags: str,
        model: str = MODEL,
        gpus: tuple[int, ...] = (0,),
        scale: float = 0.004,
        kind: str = "vllm",
        **env: str,
    ) -> Engine:
        """A process that may not be ready yet, or never."""
        port = _free_port()
        given = {
            "CUDA_VISIBLE_DEVICES": ",".join(self.node.uuids[index] for index in gpus),
            "INGLE_LAB_GPU_STATE": str(self.node.state),
            "INGLE_LAB_TIME_SCALE": str(scale),
            "INGLE_LAB_FAULTS": "1",
            "VLLM_SERVER_DEV_MODE": "1",
        }
        if kind == "vllm":
            options = ["serve", model, "--enable-sleep-mode", "--max-model-len", "8192"]
        else:
            options = [kind, "--model-path", model, "--context-length", "8192"]
        command = [sys.executable, "-m", "ingle_lab.engine", *options, "--host", HOST, "--port", str(port)]
        log = self.folder / f"engine-{len(self.started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *flags],
                env={**os.environ, **given, **env},
                stderr=output,
            )
        self.started.append(Engine(process, f"http://{HOST}:{port}", log, self.client))
        return self.started[-1]

    async def ready(self, *flags: str, **more: Any) -> Engine:
        """A process that serves."""
        engine = self.start(*flags, **more)
        await until(lambda: serves(engine))
        return engine


async def serves(engine: Engine) -> bool:
    assert engine.process.poll() is None, engine.log.read_text()
    try:
        return (await engine.get("/health"))[0] == 200
    except aiohttp.ClientConnectorError:
        return False


@pytest.fixture
async def engines(node: Node, tmp_path: Path) -> AsyncIterator[Launcher]:
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        launcher = Launcher(node, tmp_path, client)
        try:
            yield launcher
        finally:
            for engine in launcher.started:
                engine.process.kill()
                engine.process.wait()
                for task in engine.tasks:
                    task.cancel()
                await asyncio.gather(*engine.tasks, return_exceptions=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def raw(engines: Launcher) -> Iterator[Callable[[Engine], socket.socket]]:
    """Opens plain TCP connections to an engine."""
    opened: list[socket.socket] = []

    def connect(engine: Engine) -> socket.socket:
        port = int(engine.url.rsplit(":", 1)[1])
        opened.append(socket.create_connection((HOST, port), timeout=WAIT_S))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
