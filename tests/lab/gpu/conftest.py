"""Processes that tests of the GPU stand-in talk to, and the state files they share."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.gpu import build_library, create_state

HERE = Path(__file__).parent
GIB = 1 << 30


class NvmlError(Exception):
    """The name of pynvml's exception in the other process."""


class Talker:
    """A child process that answers one line for each line."""

    def __init__(self, script: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, *message: Any) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return self.read()

    def kill(self) -> None:
        self.process.kill()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


class Nvml(Talker):
    """The real pynvml in a process of its own, as the agent has it."""

    def __init__(self, state: Path, start: bool = True) -> None:
        environment = {"LD_LIBRARY_PATH": str(build_library().parent), "INGLE_LAB_GPU_STATE": str(state)}
        super().__init__("nvml_runner.py", environment=environment)
        if start:
            self("nvmlInit")

    def __call__(self, function: str, *arguments: Any) -> Any:
        answer = json.loads(self.ask(function, list(arguments)))
        if "error" in answer:
            raise NvmlError(answer["error"])
        return answer["value"]

    def used(self, gpu: int) -> int:
        return int(self("nvmlDeviceGetMemoryInfo", {"gpu": gpu}, 0x02000028)["used"])

    def field(self, gpu: int, field: int) -> int:
        [value] = self("nvmlDeviceGetFieldValues", {"gpu": gpu}, [field])
        assert value["return"] == 0
        return int(value["value"])


class Holder(Talker):
    """An engine, as the stand-in sees one: a process with a slot."""

    def __init__(self, state: Path, *uuids: str) -> None:
        super().__init__("slot_runner.py", str(state), *uuids)
        assert self.read() == "ready"


@pytest.fixture(scope="session", autouse=True)
def library() -> Path:
    return build_library()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "gpu-1" / "gpus.state"
    create_state(path, "h100x8")
    return path


@pytest.fixture
def uuids(state: Path) -> list[str]:
    from ingle_lab.gpu import read_gpus

    return [gpu.uuid for gpu in read_gpus(state)]


@pytest.fixture
def start(state: Path) -> Iterator[Callable[..., Any]]:
    """Starts a `Nvml` or `Holder` (given by name) that ends with the test."""
    kinds: dict[str, Callable[..., Talker]] = {"nvml": Nvml, "holder": Holder}
    started: list[Talker] = []

    def run(kind: str, *arguments: Any, path: Path = state, **options: Any) -> Talker:
        started.append(kinds[kind](path, *arguments, **options))
        return started[-1]

    yield run
    for process in started:
        process.end()


@pytest.fixture
def nvml(start: Callable[..., Any]) -> Any:
    return start("nvml")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """Waits for a state, at most `limit_s`."""

    def wait(holds: Callable[[], bool], limit_s: float = 5.0) -> None:
        end = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end, "not reached in time"
            time.sleep(0.005)

    return wait
