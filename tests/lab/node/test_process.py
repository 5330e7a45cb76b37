"""Processes and probes, without an API server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingle_lab.node.probe import Target, Verdict, attempt
from ingle_lab.node.process import MARK, Process, kill_strays

from .conftest import gone, until

HOST = "127.19.0.1"


def start(words: str, folder: Path, **env: str) -> Process:
    return Process.start(["/bin/sh", "-c", words], env | {"PATH": os.environ["PATH"]}, folder, folder / "log")


async def test_the_exit_code_is_that_of_a_shell(tmp_path: Path) -> None:
    assert await start("exit 3", tmp_path).wait() == 3
    process = start("exec sleep 600", tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == 137


async def test_when_the_leader_ends_its_group_is_killed(tmp_path: Path) -> None:
    process = start("sleep 600 & echo $!", tmp_path)
    assert await process.wait() == 0
    child = int((tmp_path / "log").read_text())
    await until(lambda: gone(child), bool)


async def test_hurry_cuts_the_grace_short(tmp_path: Path) -> None:
    process = start("trap '' TERM; echo up; while :; do sleep 0.05; done", tmp_path)
    await until((tmp_path / "log").read_text, bool)
    hurry = asyncio.Event()
    ending = asyncio.create_task(process.end(600, hurry))
    await asyncio.sleep(0)
    hurry.set()
    await asyncio.wait_for(ending, 10)
    assert not process.alive


async def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Process.start(["/no/such/program"], {}, tmp_path, tmp_path / "log")


async def test_strays_are_found_by_their_mark_alone(tmp_path: Path) -> None:
    mark = str(tmp_path)
    stray = start("exec sleep 600", tmp_path, **{MARK: mark})
    other = start("exec sleep 600", tmp_path, **{MARK: mark + "x"})
    await until(lambda: kill_strays(mark), bool)
    assert await stray.wait() == 137
    assert other.alive
    other.kill()
    await other.wait()


async def test_a_process_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, pathlib\n"
        "from ingle_lab.node.process import Process\n"
        "async def main():\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    p = Process.start(['/bin/sleep', '600'], {}, folder, folder / 'log')\n"
        "    print(p.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: gone(child), bool)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    asked: list[bytes] = []
    running = await asyncio.start_server(serve, HOST, 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def _execute(words: list[str], _: float) -> int:
    return int(words[0])


TARGET = Target(HOST, {"web": 1}, _execute)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9000, ""),
        (b"HTTP/1.1 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 No\r\n\r\n", "statuscode: 503"),
        (b"", "not HTTP"),
        (b"SSH-2.0\r\n", "not HTTP"),
    ],
)
async def test_an_http_probe_judges_by_the_code(answer: bytes, why: str) -> None:
    async with server(answer) as port:
        outcome = await attempt({"httpGet": {"port": port, "path": "/x"}}, TARGET, 5)
    assert outcome.ok == (not why)
    assert why in outcome.why


async def test_other_handlers_and_their_failures() -> None:
    async with server(b"") as port:
        assert (await attempt({"tcpSocket": {"port": port}}, TARGET, 5)).ok
    assert not (await attempt({"tcpSocket": {"port": "web"}}, TARGET, 5)).ok
    assert "names no port" in (await attempt({"httpGet": {"port": "none"}}, TARGET, 5)).why
    assert (await attempt({"exec": {"command": ["0"]}}, TARGET, 5)).ok
    assert "ended with 4" in (await attempt({"exec": {"command": ["4"]}}, TARGET, 5)).why
    assert "no answer within" in (await attempt({"sleep": {"seconds": 60}}, TARGET, 0.01)).why


def test_a_verdict_flips_after_enough_in_a_row() -> None:
    verdict = Verdict(passed=True, failure_threshold=2, success_threshold=1)
    assert [verdict.take(ok) for ok in (False, True, False, False)] == [False, True, False, True]
    assert not verdict.passed
