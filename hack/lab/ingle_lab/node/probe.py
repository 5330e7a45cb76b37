"""Probes: one attempt, and the rule that turns attempts into a verdict."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ingle_kit.kube import Object

BODY_BYTES_MAX = 64 * 1024

Exec = Callable[[list[str], float], Awaitable[int]]  # words, time limit in seconds -> exit code


@dataclass(frozen=True)
class Target:
    """Where a container's probes go: its address, its named ports, and how to run a command beside it."""

    address: str
    ports: dict[str, int]
    execute: Exec


@dataclass(frozen=True)
class Outcome:
    """Of one attempt; `why` is empty when it succeeded."""

    why: str = ""

    @property
    def ok(self) -> bool:
        return not self.why


async def attempt(handler: Object, target: Target, timeout_s: float) -> Outcome:
    """Tries httpGet, tcpSocket, exec or sleep once; never raises for what the container does wrong."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _attempt(handler, target, timeout_s)
    except TimeoutError:
        return Outcome(f"no answer within {timeout_s:g} s")
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Outcome(str(error) or type(error).__name__)


async def _attempt(handler: Object, target: Target, timeout_s: float) -> Outcome:
    if "httpGet" in handler:
        return await _http(handler["httpGet"], target)
    if "tcpSocket" in handler:
        where = handler["tcpSocket"]
        _, writer = await asyncio.open_connection(
            where.get("host") or target.address, port_of(where["port"], target)
        )
        writer.close()
        return Outcome()
    if "exec" in handler:
        code = await target.execute(handler["exec"].get("command") or [], timeout_s)
        return Outcome() if code == 0 else Outcome(f"command ended with {code}")
    if "sleep" in handler:
        await asyncio.sleep(handler["sleep"]["seconds"])
        return Outcome()
    raise ValueError(f"a handler of kind {', '.join(handler) or 'none'} is not supported")


def port_of(port: int | str, target: Target) -> int:
    """A port given by number or by name. Raises ValueError."""
    if isinstance(port, int):
        return port
    if port in target.ports:
        return target.ports[port]
    raise ValueError(f"the container names no port {port!r}")


async def _http(get: Object, target: Target) -> Outcome:
    host, port = get.get("host") or target.address, port_of(get["port"], target)
    tls = _unverified() if get.get("scheme", "HTTP").upper() == "HTTPS" else None
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/lab", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in get.get("httpHeaders") or []}
    lines = [
        f"GET {get.get('path') or '/'} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=BODY_BYTES_MAX)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = (await reader.readline()).split(maxsplit=2)
        await _drain(reader)
    finally:
        writer.close()
    if len(status) < 2 or not status[1].isdigit():
        return Outcome("the answer is not HTTP")
    code = int(status[1])
    return Outcome() if 200 <= code < 400 else Outcome(f"HTTP probe failed with statuscode: {code}")


async def _drain(reader: asyncio.StreamReader) -> None:
    left = BODY_BYTES_MAX  # to its end, so that the server is not cut off while it writes
    while left > 0 and (chunk := await reader.read(left)):
        left -= len(chunk)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Verdict:
    """Counts attempts: `passed` flips after enough in a row. Thresholds and defaults are Kubernetes'."""

    passed: bool
    failure_threshold: int
    success_threshold: int
    _row: int = 0
    _last: bool | None = None

    def take(self, ok: bool) -> bool:
        """Counts one attempt and returns whether enough of its kind came in a row."""
        self._row = self._row + 1 if ok == self._last else 1
        self._last = ok
        reached = self._row >= (self.success_threshold if ok else self.failure_threshold)
        if reached:
            self.passed = ok
        return reached


async def watch(spec: Object, target: Target, told: Callable[[bool, str], None], *, passed: bool) -> None:
    """Probes at its period for ever; `told(passed, why)` after each attempt that reaches a threshold."""
    verdict = Verdict(passed, int(spec.get("failureThreshold") or 3), int(spec.get("successThreshold") or 1))
    period_s = float(spec.get("periodSeconds") or 10)
    timeout_s = float(spec.get("timeoutSeconds") or 1)
    await asyncio.sleep(float(spec.get("initialDelaySeconds") or 0))
    while True:
        begun_s = time.monotonic()
        outcome = await attempt(spec, target, timeout_s)
        if verdict.take(outcome.ok):
            told(verdict.passed, outcome.why)
        await asyncio.sleep(max(0.0, begun_s + period_s - time.monotonic()))
