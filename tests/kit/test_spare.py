"""The spare launcher as it runs in an engine's image: a plain Python, one file, and a small module for an engine."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

LIMIT_S = 20.0
HEAVY = """
import os, time
print("printed by an import")
with open("imports", "a") as log:
    log.write(f"{os.getpid()}\\n")
while os.path.exists("hold-imports"):
    time.sleep(0.02)
"""
ENGINE = """
import json, os, signal, socketserver, sys, time
from http.server import BaseHTTPRequestHandler
import heavy

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(int(open("exit").read()))
        while os.path.exists("hang"):
            time.sleep(0.02)
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

def fork_stubborn_worker(own_session):
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if own_session:
            os.setsid()
        while True:
            time.sleep(60)

if __name__ == "__main__":
    with open("starts", "a") as log:
        log.write(f"{os.getpid()}\\n")
    if os.path.exists("fail"):
        sys.exit(3)
    while os.path.exists("hold-start"):
        time.sleep(0.02)
    facts = {
        "pid": os.getpid(), "session": os.getsid(0), "words": sys.argv[1:], "stdin": os.readlink("/proc/self/fd/0"),
        "files": [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n not in "012"
                  and os.path.exists(f"/proc/self/fd/{n}")],
        "handlers": [int(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGCHLD)],
    }
    if "--workers" in sys.argv:
        fork_stubborn_worker(False)
        fork_stubborn_worker(True)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(true: Callable[[], Any]) -> Any:
    ends_at_s = time.monotonic() + LIMIT_S
    while not (found := true()):
        assert time.monotonic() < ends_at_s, "waited too long"
        time.sleep(0.02)
    return found


class Pod:
    """A folder with an engine's module in it, and the launcher's processes, which all have a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.engine_port = folder, free_port(), free_port()
        self.mark = f"SPARE_TEST={uuid4()}".encode()
        self.process: subprocess.Popen[str]
        (folder / "heavy.py").write_text(HEAVY)
        (folder / "engine.py").write_text(ENGINE)
        file = folder / "ingle" / "spare.py"
        file.parent.mkdir()
        subprocess.run([sys.executable, "-m", "ingle_kit.spare", "--install", str(file)], check=True)

    def start(self, *words: str, module: str = "engine", options: tuple[str, ...] = ()) -> None:
        own = [
            f"--port={self.port}",
            f"--engine-port={self.engine_port}",
            "--grace-s=0.3",
            "--listen=127.0.0.1",
        ]
        # -S: with the standard library alone
        command = [sys.executable, "-S", "ingle/spare.py", *own, f"--module={module}", *options]
        name, _, value = self.mark.decode().partition("=")
        self.process = subprocess.Popen(
            [*command, "--", str(self.engine_port), *words],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ready(self, *words: str) -> None:
        self.start(*words)
        until(lambda: self.state() == "Spare")

    def call(self, method: str, path: str, *, port: int = 0, body: str | None = None) -> tuple[int, Any]:
        asked = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=LIMIT_S)
        try:
            asked.request(method, path, body)
            answer = asked.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            asked.close()

    def state(self) -> str | None:
        try:
            return str(self.call("GET", "/state")[1]["state"])
        except ConnectionError:
            assert self.process.poll() is None, self.process.communicate()[0]
            return None

    def facts(self) -> Any:
        return self.call("GET", "/facts", port=self.engine_port)[1]

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def processes(self) -> set[int]:
        found = set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark in environ.read_bytes().split(b"\0"):
                    found.add(int(environ.parent.name))
            except OSError:
                continue
        return found

    def zygote(self) -> int:
        """The process that did the imports."""
        return int(self.lines("imports")[0])

    def ended(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, said


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    made = Pod(tmp_path)
    yield made
    for pid in made.processes():
        with suppress(ProcessLookupError):  # one of them has ended the others
            os.kill(pid, signal.SIGKILL)
    made.process.communicate()


def test_engines_are_forked_from_one_import_one_after_the_other(pod: Pod) -> None:
    pod.ready("--model", "a b", "--")
    assert pod.call("GET", "/health")[0] == 200
    seen = []
    for _ in range(2):
        assert pod.call("POST", "/load") == (200, {"state": "Loaded"})
        assert pod.call("POST", "/load") == (200, {"state": "Loaded"})
        seen.append(pod.facts())
        assert pod.call("POST", "/unload") == (200, {"state": "Spare"})
        assert pod.call("POST", "/unload") == (200, {"state": "Spare"})
    assert pod.lines("starts") == [str(facts["pid"]) for facts in seen]
    assert pod.lines("imports") == [str(pod.zygote())]
    assert pod.zygote() not in [facts["pid"] for facts in seen]
    for facts in seen:
        assert facts["words"] == [str(pod.engine_port), "--model", "a b", "--"]
        assert facts["session"] == facts["pid"]
        assert facts["stdin"] == os.devnull
        assert [name for name in facts["files"] if name.startswith(("pipe:", "socket:"))] == []
        assert facts["handlers"] == [int(signal.SIG_DFL)] * 2
    pod.process.terminate()
    assert pod.ended()[1].count("printed by an import") == 1


def test_nothing_of_an_engine_is_left_after_an_unload(pod: Pod) -> None:
    pod.ready("--workers")
    assert pod.call("POST", "/load")[0] == 200
    assert len(pod.processes()) == 5
    assert pod.call("POST", "/unload") == (200, {"state": "Spare"})
    assert pod.processes() == {pod.process.pid, pod.zygote()}


def test_a_load_that_fails_is_told_and_the_next_may_work(pod: Pod) -> None:
    pod.ready()
    (pod.folder / "fail").touch()
    status, told = pod.call("POST", "/load")
    assert (status, told["state"]) == (500, "Spare")
    assert "exit code 3" in told["error"]
    (pod.folder / "fail").unlink()
    assert pod.call("POST", "/load")[0] == 200


def test_loads_at_once_are_one_whoever_goes_away(pod: Pod) -> None:
    pod.ready()
    (pod.folder / "hold-start").touch()
    gone = http.client.HTTPConnection("127.0.0.1", pod.port)
    gone.request("POST", "/load")
    until(lambda: pod.state() == "Loading")
    gone.close()
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(pod.call, "POST", "/load") for _ in range(40)]
        until(lambda: sum(one.done() for one in answers) == 9)
        refused = [one for one in answers if one.done()]
        assert pod.call("GET", "/health") == (200, {"state": "Loading"})
        (pod.folder / "hold-start").unlink()
        assert [one.result()[0] for one in refused] == [
            503
        ] * 9  # 32 may wait, the one that went away among them
        assert [one.result() for one in answers if one not in refused] == [(200, {"state": "Loaded"})] * 31
    assert len(pod.lines("starts")) == 1


def test_an_unload_ends_a_load(pod: Pod) -> None:
    pod.ready()
    (pod.folder / "hold-start").touch()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(pod.call, "POST", "/load")
        until(lambda: pod.lines("starts"))
        assert pod.call("POST", "/unload") == (200, {"state": "Spare"})
        assert answer.result()[0] == 409


def test_an_engine_that_hangs_is_unhealthy_and_can_be_unloaded(pod: Pod) -> None:
    pod.ready()
    assert pod.call("POST", "/load")[0] == 200
    assert pod.call("GET", "/health") == (200, {"state": "Loaded"})
    (pod.folder / "hang").touch()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(pod.call, "GET", "/health")
        assert pod.state() == "Loaded"
        assert answer.result()[0] == 503
    assert pod.call("POST", "/unload")[0] == 200


@pytest.mark.parametrize(("asked", "exit_code"), [("7", 7), ("0", 1)])
def test_a_loaded_engine_that_ends_takes_the_container_along(pod: Pod, asked: str, exit_code: int) -> None:
    pod.ready("--workers")
    assert pod.call("POST", "/load")[0] == 200
    (pod.folder / "exit").write_text(asked)
    with pytest.raises(ConnectionError):
        pod.call("GET", "/exit", port=pod.engine_port)
    assert pod.ended()[0] == exit_code
    assert pod.processes() == set()


def test_a_loaded_engine_that_is_killed_shows_the_signal(pod: Pod) -> None:
    pod.ready()
    assert pod.call("POST", "/load")[0] == 200
    os.kill(pod.facts()["pid"], signal.SIGKILL)
    assert pod.ended()[0] == 128 + signal.SIGKILL


def test_sigterm_unloads_and_leaves_no_process(pod: Pod) -> None:
    pod.ready("--workers")
    assert pod.call("POST", "/load")[0] == 200
    pod.process.terminate()
    assert pod.ended()[0] == 0
    assert pod.processes() == set()


def test_while_it_imports_it_refuses_and_sigterm_ends_it(pod: Pod) -> None:
    (pod.folder / "hold-imports").touch()
    pod.start()
    until(lambda: pod.state() == "Importing")
    assert pod.call("GET", "/health")[0] == 503
    assert pod.call("POST", "/load")[0] == 409
    assert pod.call("POST", "/unload")[0] == 409
    pod.process.terminate()
    assert pod.ended()[0] == 0
    assert pod.processes() == set()


@pytest.mark.parametrize("whom", ["supervisor", "zygote"])
def test_no_process_outlives_a_killed_one(pod: Pod, whom: str) -> None:
    pod.ready("--workers")
    assert pod.call("POST", "/load")[0] == 200
    if whom != "supervisor":
        os.kill(pod.zygote(), signal.SIGKILL)
        assert pod.ended()[0] == 1
    else:
        pod.process.kill()
    until(lambda: pod.processes() == set())


def test_a_module_that_cannot_be_imported_is_named(pod: Pod) -> None:
    pod.start(module="absent.server")
    code, said = pod.ended()
    assert code == 1
    assert "cannot import absent.server: ModuleNotFoundError" in said


def test_what_else_is_to_be_imported_may_be_missing(pod: Pod) -> None:
    pod.start(module="heavy", options=("--also", "absent", "--also", "engine"))
    until(lambda: pod.state() == "Spare")
    pod.process.terminate()
    code, said = pod.ended()
    assert code == 0
    assert "left out absent" in said
    assert "left out engine" not in said


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("POST", "/state", 405), ("DELETE", "/load", 405), ("GET", "/unload?now", 405)],
)
def test_other_calls_are_refused(waiting: Pod, method: str, path: str, status: int) -> None:
    assert waiting.call(method, path)[0] == status


def test_a_body_is_bounded(waiting: Pod) -> None:
    assert waiting.call("POST", "/unload", body="{}")[0] == 200
    assert waiting.call("POST", "/unload", body=" " * 65537)[0] == 413


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    made = Pod(tmp_path_factory.mktemp("waiting"))
    made.ready()
    yield made
    made.process.terminate()
    assert made.ended()[0] == 0
