"""`ingle watch`: the process on a pipe and on a terminal, against a real API server that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ingle_cli.failures import Failure
from ingle_cli.text import console, rendered
from ingle_cli.watch.changes import changes, event_line
from ingle_cli.watch.screen import screen
from ingle_cli.watch.story import EventListener, PoolListener, Story
from ingle_kit import names
from ingle_kit.kube import Unavailable

from .conftest import Cluster, condition, stamp
from .test_command import user_kubeconfig

PATIENCE_S = 20.0


class Door:
    """Hands connections on to the API server while it is open; to close it cuts them all."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._to = urlsplit(cluster.plane.server)
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.open()
        config = yaml.safe_load(cluster.plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = folder / "through-the-door"
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def open(self) -> None:
        self._do(self._open())

    def close(self) -> None:
        self._do(self._close())

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._hand_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._streams):
            writer.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._streams |= {writer, there}
        await asyncio.gather(self._copy(reader, there), self._copy(there_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other side is gone
        finally:
            self._streams.discard(writer)
            writer.close()


@pytest.fixture
def door(cluster: Cluster, tmp_path: Path) -> Iterator[Door]:
    made = Door(cluster, tmp_path)
    yield made
    made.end()


class Watching:
    """The process, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], out: int) -> None:
        self.process, self._out, self._text = process, out, b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._out, 65536):
                self._text += data
        except OSError:
            pass  # a terminal whose last user has gone

    @property
    def text(self) -> str:
        return self._text.decode(errors="replace")

    def until(self, *words: str) -> None:
        until(lambda: all(word in self.text for word in words), lambda: f"{words} not in:\n{self.text}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


def until(true: Callable[[], bool], why: Callable[[], str]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, why()
        time.sleep(0.02)


@contextmanager
def watching(kubeconfig: Path, *, terminal: bool = False, pool: str = "small") -> Iterator[Watching]:
    env = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(kubeconfig),
        "TERM": "xterm",
        "COLUMNS": "100",
        "LINES": "30",
    }
    python = [
        "env",
        "--default-signal=INT",
        sys.executable,
    ]  # a test in the background of a shell would ignore it
    command = [*python, "-m", "ingle_cli.main", "watch", pool, "-n", "chat"]
    ours, theirs = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            yield Watching(process, ours)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def engine(state: str, **more: Any) -> dict[str, Any]:
    return {"pod": "small-a-0", "podUID": "u", "node": "gpu-1", "variant": "bf16", "state": state} | more


def set_status(cluster: Cluster, **status: Any) -> None:
    kind = names.INFERENCE_POOL
    cluster.run(cluster.kube.merge_patch(kind, "small", {"status": status}, "chat", subresource="status"))


def tell(cluster: Cluster, reason: str, message: str) -> None:
    uid = cluster.run(cluster.kube.get(names.INFERENCE_POOL, "small", "chat"))["metadata"]["uid"]
    about = {"kind": "InferencePool", "name": "small", "namespace": "chat", "uid": uid}
    event = {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": stamp()}
    cluster.put(names.EVENT, f"small.{reason.lower()}", event | {"type": "Normal"}, None, "chat")


def test_on_a_pipe_each_change_is_a_line_and_a_lost_server_is_survived(cluster: Cluster, door: Door) -> None:
    cluster.pool("small", engines=[engine("AsleepL1")], replicas={"asleep": 1})
    with watching(door.kubeconfig) as seen:
        seen.until("engine small-a-0 on gpu-1: AsleepL1\n", "0 awake, 1 asleep, 0 starting, 0 wanted\n")
        set_status(cluster, engines=[engine("Waking")], waiting=2)
        tell(cluster, "Woken", "engine small-a-0 woke in 900 ms")
        seen.until("AsleepL1 -> Waking\n", "2 requests waiting\n", "Woken: engine small-a-0 woke in 900 ms\n")
        door.close()
        seen.until("the API server is lost, trying again: Cannot reach the API server")
        set_status(cluster, engines=[engine("Awake", wakeMilliseconds=900)], waiting=0)
        door.open()
        seen.until(
            "the API server answers again\n", "Waking -> Awake (woke in 900 ms)\n", "0 requests waiting\n"
        )
        assert seen.interrupt() == 0
        assert "Traceback" not in seen.text
        assert "Abort" not in seen.text
        assert all(line[:2] == "20" for line in seen.text.splitlines())


def test_on_a_terminal_the_pool_is_drawn_and_drawn_again(cluster: Cluster) -> None:
    cluster.pool("small", engines=[engine("AsleepL1")], replicas={"asleep": 1})
    with watching(cluster.plane.kubeconfig, terminal=True) as seen:
        seen.until("chat/small (example/small)", "ENGINE", "AsleepL1")
        set_status(cluster, engines=[engine("Waking")], waiting=7)
        seen.until("Waking", "7 requests waiting")
        assert seen.interrupt() == 0
        assert seen.text.rstrip().endswith("\x1b[?25h")  # the cursor is back
        assert "Traceback" not in seen.text


def test_a_reader_that_goes_away_ends_the_watch_in_silence(cluster: Cluster) -> None:
    cluster.pool("small")
    env = {"PATH": os.environ["PATH"], "KUBECONFIG": str(cluster.plane.kubeconfig)}
    command = [sys.executable, "-m", "ingle_cli.main", "watch", "small", "-n", "chat"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        set_status(cluster, waiting=1)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_pool_that_goes_ends_the_watch_and_one_that_is_not_there_begins_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.pool("small")
    viewer = user_kubeconfig(cluster, tmp_path, "ingle-view")
    with watching(viewer) as seen:
        seen.until("Ready Unknown NotSeenYet", "decisions are not shown: ", "may not list events")
        cluster.run(cluster.kube.delete(names.INFERENCE_POOL, "small", "chat"))
        seen.until("ingle: The pool was deleted.\n")
        assert seen.process.wait(PATIENCE_S) == 1
    assert cluster.ingle("watch", "nix", "-n", "chat").code == 1


def pool(
    *engines: dict[str, Any], waiting: int = 0, ready: str = "True", generation: int = 1
) -> dict[str, Any]:
    said = condition("Ready", ready, "Serving" if ready == "True" else "Waking")
    status = {
        "engines": list(engines),
        "waiting": waiting,
        "conditions": [said | {"observedGeneration": generation}],
    }
    metadata = {"name": "small", "namespace": "chat", "uid": "p", "generation": generation}
    return {"metadata": metadata, "spec": {"model": "example/small"}, "status": status}


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (pool(engine("Awake")), pool(engine("Awake")), []),
        (pool(), pool(engine("Pending", node=None)), ["engine small-a-0: Pending"]),
        (pool(engine("Awake")), pool(), ["engine small-a-0 is gone"]),
        (
            pool(engine("AsleepL1")),
            pool(engine("AsleepL1", reason="InsufficientWatts", message="400 W")),
            ["engine small-a-0 on gpu-1: AsleepL1, InsufficientWatts: 400 W"],
        ),
        (pool(waiting=2), pool(waiting=1), ["1 request waiting"]),
        (pool(), pool(ready="False"), ["Ready False Waking"]),
        (pool(), pool(generation=2), ["the pool's spec changed (generation 2)"]),
    ],
)
def test_only_what_differs_is_told(old: dict[str, Any], new: dict[str, Any], lines: list[str]) -> None:
    assert list(changes(old, new)) == lines


def event(uid: str, at: str, reason: str = "Woken") -> dict[str, Any]:
    return {"metadata": {"name": uid, "uid": uid}, "reason": reason, "message": "m", "lastTimestamp": at}


def test_an_event_is_told_once_and_old_ones_only_the_last_few() -> None:
    story = Story("https://x", lambda: 0.0)
    listener = EventListener(story)
    old = [event(f"e{number}", f"2027-01-15T08:00:{number:02}Z") for number in range(20)]
    listener.listed(old)
    assert [line.at[17:19] for line in story.lines] == [f"{number}" for number in range(12, 20)]
    listener.listed([*old, event("new", "2027-01-15T09:00:00Z")])
    listener.heard("MODIFIED", event("new", "2027-01-15T09:00:00Z"))
    assert len(story.lines) == 9
    assert event_line(event("x", "") | {"type": "Warning"}) == "warning Woken: m"


def test_the_screen_has_no_more_lines_than_the_terminal_and_says_when_it_is_old() -> None:
    story = Story("https://x", lambda: 0.0)
    listener = PoolListener(story)
    engines = [engine("Awake") | {"pod": f"small-{number}"} for number in range(40)]
    listener.listed([pool(*engines)])
    listener.lost(Unavailable(0, "ClientError", "GET /x: refused"))
    listener.lost(Unavailable(0, "ClientError", "GET /x: refused"))
    assert sum("is lost" in line.text for line in story.lines) == 1
    for rows in (12, 24, 60):
        text = rendered(screen(story, 0.0, rows), console(columns=100))
        assert len(text.splitlines()) <= rows
        assert "NOT UP TO DATE: Cannot reach the API server https://x" in text
    with pytest.raises(Failure, match="deleted"):
        listener.listed([])
