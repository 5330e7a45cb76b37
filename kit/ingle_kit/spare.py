"""`ingle-spare`: a process with an engine's imports done and no engine in it; the engine is forked from it when asked.

    ingle-spare --install FILE                         copies this file there (init container of our image)
    python3 FILE [options] --module MODULE -- ARGS...  in the engine's image, for `python3 -m MODULE ARGS...`

A supervisor answers HTTP and imports nothing of the engine's; a *zygote* does, and starts no thread and no CUDA of its
own. A load forks the zygote, an unload ends that fork and all it has started, so that the driver takes back what they
had of the GPUs. One file, standard library only, Python 3.9 or later: it runs inside images that are not ours.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import http.client
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

IMPORTING, SPARE, LOADING, LOADED, ENDING = "Importing", "Spare", "Loading", "Loaded", "Ending"
LOAD, TERMINATE, KILL = b"load", b"terminate", b"kill"  # orders to the zygote
POLL_S = 0.1
HEALTH_LIMIT_S = 1.0
KILLED_LIMIT_S = 30.0  # for killed processes to be gone; one that a driver holds on to may never go
IDLE_LIMIT_S = 30.0  # of a connection
BODY_BYTES_MAX = 65536
THREADS_MAX = 128  # about as many connections at once
WAITING_MAX = 32  # calls for a load, so that probes and an unload have room beside them
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def say(text: str) -> None:
    print(f"ingle-spare: {text}", file=sys.stderr, flush=True)


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(word) for word in (value, 0, 0, 0)))


def die_with(parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def children() -> set[int]:
    """Processes whose parent this one is, ended ones included until they are waited for."""
    found, own = set(), str(os.getpid()).encode()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if stat.read_bytes().rpartition(b")")[2].split()[1] == own:
                found.add(int(stat.parent.name))
    return found


def open_files() -> set[str]:
    names = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # this listing's own, closed again
            names.add(os.readlink(f"/proc/self/fd/{number}"))
    return names


def signal_group(leader: int, number: int) -> None:
    """To a child not waited for yet, and to the group that it makes as its first step."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        os.kill(leader, number)


def kill_children(kept: set[int]) -> None:
    """Until there are none but `kept`. What they leave comes to us as their subreaper, and is killed as well."""
    while left := children() - kept:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def bury(leader: int, kept: set[int]) -> int:
    """Waits for an engine's first process and kills all that it leaves; its exit code, -N for signal N."""
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    kill_children(kept | {leader})
    return os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])


class Zygote:
    """The process with the imports. Takes orders, forks, waits for what it forked."""

    def __init__(self, wire: socket.socket, options: argparse.Namespace) -> None:
        self._wire, self._module, self._also = wire, options.module, options.also
        sys.argv = [options.module, *options.args]
        if sys.path and sys.path[0] == str(Path(__file__).resolve().parent):
            sys.path[0] = os.getcwd()  # as `python3 -m` has it

    def hold(self) -> bool:
        """True in the process that is to be the engine; False in the zygote once it is of no more use."""
        os.setsid()  # who kills the supervisor's group leaves us to end the engine's
        if not self._import():
            return False
        prctl(PR_SET_PDEATHSIG, 0)  # from here on the wire tells, and leaves time to end the engine
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._kept = children()
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        sys.stdout.flush()  # or each engine would print it again
        gc.collect()
        gc.freeze()  # or an engine's first collection would copy every page that it shares
        self._tell("ready")
        return self._obey()

    def _import(self) -> bool:
        started_at_s = time.monotonic()
        try:
            importlib.import_module(self._module)
        except Exception as error:
            traceback.print_exc()
            say(f"cannot import {self._module}: {type(error).__name__}: {error}")
            return False
        for name in self._also:
            try:
                importlib.import_module(name)
            except Exception as error:
                say(f"left out {name}: {type(error).__name__}: {error}")
        say(f"{self._module} is imported after {time.monotonic() - started_at_s:.1f} s")
        if (threads := len(os.listdir("/proc/self/task"))) > 1:
            say(f"imports started {threads - 1} threads, which the engine will not have")
        if driver := sorted(name for name in open_files() if name.startswith("/dev/nvidia")):
            say(f"imports opened {', '.join(driver)}: CUDA that starts before a fork fails after it")
        return True

    def _obey(self) -> bool:
        engine = 0
        while True:
            ready = select.select([self._wire.fileno(), self._woken], [], [])[0]
            if self._woken in ready:
                os.read(self._woken, 4096)
            if engine and self._has_ended(engine):
                code, engine = bury(engine, self._kept), 0
                self._tell(f"ended {code}")
            if self._wire.fileno() not in ready:
                continue
            order = self._wire.recv(64)
            if order == LOAD and not engine:
                zygote, engine = os.getpid(), os.fork()
                if not engine:
                    self._leave(zygote)
                    return True
            elif engine and order != LOAD:
                signal_group(engine, signal.SIGTERM if order == TERMINATE else signal.SIGKILL)
            if not order:  # the supervisor is gone
                if engine:
                    bury(engine, self._kept)
                return False

    def _has_ended(self, engine: int) -> bool:
        """Waits on the way for others that have come to us and ended."""
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == engine:
                return True
            os.waitpid(ended.si_pid, 0)
        return False

    def _tell(self, report: str) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone: the next order says so
            self._wire.send(report.encode())

    def _leave(self, zygote: int) -> None:
        """In the fork: leaves all that a process which a shell had started would not have."""
        os.setsid()
        die_with(zygote)
        wake = signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (wake, self._woken, self._wire.detach()):
            os.close(end)
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        if not hasattr(sys.modules[self._module], "__path__"):
            del sys.modules[self._module]  # it runs as __main__, and only so


class Load:
    """One engine. `answer`: status and reason, once it is healthy or never will be. `gone`: nothing is left of it."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] | None = None
        self.gone = False


class Supervisor:
    """The state, and the orders that change it. `load` and `unload` wait, each in its caller's thread."""

    def __init__(self, wire: socket.socket, options: argparse.Namespace) -> None:
        self.state = IMPORTING
        self._wire, self._options = wire, options
        self._changed = threading.Condition()
        self._current = Load()
        self._waiting, self._stopping = 0, False

    def follow(self) -> int:
        """Takes the zygote's reports until there is a reason to end; the exit code."""
        while report := self._wire.recv(64).decode():
            word, _, number = report.partition(" ")
            with self._changed:
                if word == "ready":
                    self.state = SPARE
                elif self._ended(int(number)):
                    return 128 - int(number) if int(number) < 0 else int(number) or 1
                self._changed.notify_all()
        if not self._stopping:
            say("the process with the imports ended")
        return 0 if self._stopping else 1

    def load(self) -> tuple[int, str]:
        with self._changed:
            if self._stopping or self.state in (IMPORTING, ENDING):
                return 409, f"not while {'Stopping' if self._stopping else self.state}"
            if self._waiting >= WAITING_MAX:
                return 503, f"{WAITING_MAX} others wait for this load"
            if self.state == SPARE:
                self.state, self._current = LOADING, Load()
                self._wire.send(LOAD)
                threading.Thread(target=self._until_healthy, args=(self._current,), daemon=True).start()
            current, self._waiting = self._current, self._waiting + 1
            self._changed.wait_for(lambda: current.answer)
            self._waiting -= 1
            return current.answer or (500, "")

    def unload(self) -> tuple[int, str]:
        with self._changed:
            if self.state in (IMPORTING, SPARE):
                return (200, "") if self.state == SPARE else (409, f"not while {self.state}")
            current, grace_s = self._current, self._options.grace_s
            if self.state != ENDING:
                self.state = ENDING
                current.answer = current.answer or (409, "unloaded before it was healthy")
                self._wire.send(TERMINATE)
                self._changed.notify_all()
            if not self._changed.wait_for(lambda: current.gone, grace_s):
                say(f"the engine runs on {grace_s:g} s after SIGTERM: killing it")
                self._wire.send(KILL)
            if self._changed.wait_for(lambda: current.gone, KILLED_LIMIT_S):
                return 200, ""
            return 500, f"killed processes are still there after {KILLED_LIMIT_S:g} s"

    def stop(self) -> None:
        """Ends the engine, then lets `follow` return."""
        self._stopping = True
        with contextlib.suppress(OSError):  # stopped already
            self.unload()
            self._wire.shutdown(socket.SHUT_RDWR)

    def health(self) -> tuple[int, str]:
        if self.state == LOADED:
            return self._engine_health() or 503, ""
        return (503, "") if self.state == IMPORTING else (200, "")

    def _engine_health(self) -> int:
        """What the engine's own /health says; 0 where it says nothing in time."""
        host, port = self._options.engine_host, self._options.engine_port
        with contextlib.closing(http.client.HTTPConnection(host, port, timeout=HEALTH_LIMIT_S)) as asked:
            try:
                asked.request("GET", "/health")
                return asked.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0

    def _until_healthy(self, current: Load) -> None:
        while not current.answer:
            healthy = self._engine_health() == 200
            with self._changed:
                if healthy and not current.answer:
                    self.state, current.answer = LOADED, (200, "")
                    self._changed.notify_all()
            time.sleep(POLL_S)

    def _ended(self, code: int) -> bool:
        """Notes that nothing is left of the engine; True where that ends us as well, as it would end its container."""
        say(f"the engine ended, exit code {code}")
        current, alone = self._current, self.state == LOADED
        current.answer = current.answer or (500, f"the engine ended before it was healthy, exit code {code}")
        current.gone, self.state = True, SPARE
        return alone


class Handler(BaseHTTPRequestHandler):
    """Calls that change or tell the state, answered with it as JSON."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "ingle-spare", ""
    disable_nagle_algorithm, timeout = True, IDLE_LIMIT_S
    server: Server

    def answer(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        short = length.isdecimal() and len(length) < 9 and int(length) <= BODY_BYTES_MAX
        if "Transfer-Encoding" in self.headers or not short:
            self.close_connection = True
            return self._send(413, "no call takes a body")
        self.rfile.read(int(length))
        method, call = self.server.calls.get(self.path.partition("?")[0], ("", None))
        if call is None:
            return self._send(404, f"there are {', '.join(self.server.calls)}")
        self._send(*(call() if self.command == method else (405, f"use {method}")))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def _send(self, status: int, error: str) -> None:
        told = {"state": self.server.supervisor.state} | ({"error": error} if error else {})
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: probes ask every second."""


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, up to a limit."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = THREADS_MAX

    def __init__(self, supervisor: Supervisor, host: str, port: int) -> None:
        self.supervisor = supervisor
        self.calls: dict[str, tuple[str, Callable[[], tuple[int, str]]]] = {
            "/state": ("GET", lambda: (200, "")),
            "/health": ("GET", supervisor.health),
            "/load": ("POST", supervisor.load),
            "/unload": ("POST", supervisor.unload),
        }
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def verify_request(self, *_: object) -> bool:
        return threading.active_count() < THREADS_MAX

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # else the client has gone
            traceback.print_exc()


def arguments(words: list[str]) -> argparse.Namespace:
    at, pod = words.index("--") if "--" in words else len(words), os.environ.get("POD_IP", "")
    parser = argparse.ArgumentParser("ingle-spare", "%(prog)s [options] --module MODULE -- ARGS...")
    parser.add_argument("--install", type=Path, metavar="FILE", help="copy this file to FILE and end")
    parser.add_argument(
        "--listen", default=pod or "0.0.0.0", metavar="HOST", help="default: $POD_IP, else any"
    )
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--engine-host", default=pod or "127.0.0.1", help="default: $POD_IP, else 127.0.0.1")
    parser.add_argument("--engine-port", type=int, default=8000)
    parser.add_argument("--grace-s", type=float, default=10.0, help="from SIGTERM to SIGKILL")
    parser.add_argument("--module", help="what `python3 -m` would start")
    parser.add_argument(
        "--also", action="append", default=[], metavar="MODULE", help="imported as well, if there"
    )
    options = parser.parse_args(words[:at])
    if not (options.module or options.install):
        parser.error("--module is missing")
    options.args = words[at + 1 :]
    return options


def supervise(wire: socket.socket, options: argparse.Namespace) -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # for what a killed zygote leaves
    supervisor = Supervisor(wire, options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=supervisor.stop, daemon=True).start())
    server = Server(supervisor, options.listen, options.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return supervisor.follow()


def main(words: list[str] | None = None) -> int:
    """The supervisor's exit code: 0 told to stop, 1 no imports or no zygote, 2 wrong arguments, else the engine's."""
    options = arguments(sys.argv[1:] if words is None else words)
    if options.install is not None:
        shutil.copyfile(__file__, options.install)
        return 0
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor, zygote = os.getpid(), os.fork()
    if not zygote:
        die_with(supervisor)
        ours.close()
        if not Zygote(its, options).hold():
            return 1
        runpy.run_module(options.module, run_name="__main__", alter_sys=True)
        return 0
    its.close()
    try:
        return supervise(ours, options)
    finally:
        os.kill(zygote, signal.SIGKILL)
        os.waitpid(zygote, 0)
        kill_children(set())


if __name__ == "__main__":
    sys.exit(main())
