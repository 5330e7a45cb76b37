"""500 requests at once to one sleeping model: with room for all of them, and with room for 200.

Simulated: GPU, node and engine (a 32B model that takes 2.7 s to wake: `qwen3-32b.yaml` of the engine stand-in), at time
scale 1. Real: the control plane, Envoy and all of Ingle. Each request has a body of 16 KiB; every second one streams.
In the second run 450 come from one namespace and 50 from another. `BENCH_SMALL` asks for a tenth of everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import yaml

from bench.parts import Progress, Row
from bench.warmreal.lab import Lab, open_lab
from ingle_kit.kube import Conflict, Object
from ingle_kit.names import AUDIENCE, INFERENCE_POOL, NAMESPACE, SERVICE_ACCOUNT
from ingle_lab.stack.stack import ROOT

POOL: Final = "burst"
NAMESPACES: Final = ("chat", "guests")
MODEL: Final = "burst/Qwen3-32B"
PART: Final = 10 if os.environ.get("BENCH_SMALL") else 1
REQUESTS, ROOM, FEW = 500 // PART, 200 // PART, 50 // PART
BODY_BYTES: Final = 16 * 1024
SAMPLE_S: Final = 0.05
LIMIT_S: Final = 180.0
TIME_SCALE: Final = 1.0


@dataclass
class Burst:
    """What came of one burst. `told`: 429 with Retry-After, or the same in-band to a stream that had begun."""

    answered: list[int]
    told: int
    faults: list[str]
    wake_calls: int
    last_s: float
    held_max: int
    before_mib: float
    peak_mib: float
    held_kib: float


@dataclass
class Watch:
    """The router's memory, and how many wait, while a burst runs."""

    pid: int
    before_kib: int
    held_max: int = 0
    kib_at_most_held: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


def measure() -> list[Row]:
    """Rows of both runs, in one lab."""
    return asyncio.run(_measure(lambda text: print(f"burst: {text}", file=sys.stderr, flush=True)))


def rows(tell: Progress) -> list[Row]:
    """The same, as a part of a larger benchmark."""
    return asyncio.run(_measure(tell))


async def _measure(tell: Progress) -> list[Row]:
    async with open_lab(TIME_SCALE, tell) as lab:
        callers = [await _caller(lab, namespace) for namespace in NAMESPACES]
        await lab.apply([_pool(REQUESTS)])
        all_fit = await _burst(lab, callers[:1], [REQUESTS])
        tell(f"room for {REQUESTS}: {_short(all_fit)}")
        await lab.scene.stack.api.merge_patch(
            INFERENCE_POOL, POOL, {"spec": {"hold": {"waiting": ROOM}}}, NAMESPACES[0]
        )
        some_fit = await _burst(lab, callers, [REQUESTS - FEW, FEW])
        tell(f"room for {ROOM}: {_short(some_fit)}")
    return _rows(f"burst_room_{REQUESTS}", all_fit, REQUESTS, [REQUESTS]) + _rows(
        f"burst_room_{ROOM}", some_fit, ROOM, [REQUESTS - FEW, FEW]
    )


def _pool(waiting: int) -> Object:
    docs = yaml.safe_load_all((ROOT / "examples" / "pools.yaml").read_text())
    made: Object = next(doc for doc in docs if doc["metadata"]["name"] == "qwen-32b")
    made["metadata"] = {"name": POOL, "namespace": NAMESPACES[0]}
    made["spec"] |= {
        "model": MODEL,
        "aliases": [],
        "replicas": {"min": 0, "max": 1},
        "warm": {"asleep": 1, "idleSeconds": 5},
        "hold": {"seconds": 120, "heartbeatSeconds": 5, "waiting": waiting},
    }
    return made


async def _caller(lab: Lab, namespace: str) -> str:
    """A token of a service account in that namespace: a tenant of its own."""
    api, plane = lab.scene.stack.api, lab.scene.stack.plane
    assert plane is not None
    made = ((NAMESPACE, {"metadata": {"name": namespace}}), (SERVICE_ACCOUNT, _account(namespace)))
    for kind, obj in made:
        with contextlib.suppress(Conflict):
            await api.create(kind, obj)
    return await asyncio.to_thread(
        plane.service_account_token, namespace, POOL, audiences=[AUDIENCE], expiration_s=7200
    )


def _account(namespace: str) -> Object:
    return {"metadata": {"name": POOL, "namespace": namespace}}


async def _burst(lab: Lab, tokens: list[str], counts: list[int]) -> Burst:
    """Sends them all at once, mixed, when the one engine sleeps and nothing is under way."""
    await lab.asleep([POOL], 400.0)
    calls = await _wake_calls(lab)
    asking: list[tuple[int, str]] = []
    for number in range(max(counts)):
        asking += [(at, tokens[at]) for at, count in enumerate(counts) if number < count]
    started_s = time.monotonic()
    async with _watched(lab) as watch:
        sent = (_one(lab, token, stream=at % 2 == 0) for at, (_, token) in enumerate(asking))
        outcomes = await asyncio.gather(*sent)
    last_s = time.monotonic() - started_s
    answered = [0] * len(counts)
    for (tenant, _), outcome in zip(asking, outcomes, strict=True):
        answered[tenant] += outcome == "answered"
    return Burst(
        answered,
        outcomes.count("told"),
        [o for o in outcomes if o not in ("answered", "told")],
        await _wake_calls(lab) - calls,
        last_s,
        watch.held_max,
        watch.before_kib / 1024,
        _status_kib(watch.pid, "VmHWM") / 1024,
        max(0, watch.kib_at_most_held - watch.before_kib) / max(1, watch.held_max),
    )


async def _one(lab: Lab, token: str, *, stream: bool) -> str:
    """`answered`, `told`, or what went wrong."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "x" * BODY_BYTES}],
        "max_tokens": 8,
        "lab_prompt_tokens": 64,
        "stream": stream,
    }
    url, headers = f"{lab.scene.stack.gateway}/v1/chat/completions", {"authorization": f"Bearer {token}"}
    try:
        async with asyncio.timeout(LIMIT_S), lab.scene.session.post(url, json=body, headers=headers) as reply:
            return _outcome(reply.status, dict(reply.headers), await reply.read(), stream)
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        return type(error).__name__


def _outcome(status: int, headers: dict[str, str], text: bytes, stream: bool) -> str:
    if status == 429:
        names = {name.lower() for name in headers}
        return "told" if "retry-after" in names else "429 without Retry-After"
    if status != 200:
        return f"status {status}: {text[:120].decode(errors='replace')}"
    if not stream:
        return "answered" if msgspec.json.decode(text).get("choices") else "an empty answer"
    if not text.endswith(b"data: [DONE]\n\n"):
        return "a stream without an end"
    error = next((line for line in text.splitlines() if line.startswith(b'data: {"error"')), None)
    if error is None:
        return "answered"
    told = msgspec.json.decode(error[6:])["error"]
    return "told" if told.get("type") == "rate_limit_error" and told.get("retry_after") else str(told)


@asynccontextmanager
async def _watched(lab: Lab) -> AsyncIterator[Watch]:
    pid = await lab.scene.stack.pid(lab.scene.gateway_pod(), "router")
    _forget_peak(pid)
    watch = Watch(pid, _status_kib(pid, "VmRSS"))
    watch.tasks.append(asyncio.create_task(_sample(lab, watch)))
    try:
        yield watch
    finally:
        for task in watch.tasks:
            task.cancel()
        await asyncio.gather(*watch.tasks, return_exceptions=True)


async def _sample(lab: Lab, watch: Watch) -> None:
    line = f'ingle_router_waiting{{pool="{NAMESPACES[0]}/{POOL}"}}'
    while True:
        held = int(await _gauge(lab, f"{lab.scene.stack.router}/metrics", line))
        if held > watch.held_max:
            watch.held_max, watch.kib_at_most_held = held, _status_kib(watch.pid, "VmRSS")
        await asyncio.sleep(SAMPLE_S)


async def _wake_calls(lab: Lab) -> int:
    """The one engine's own count. A second engine would be a fault of its own."""
    engines = lab.scene.engines(POOL)
    assert len(engines) == 1, f"{len(engines)} engines"
    url = f"http://{engines[0]['status']['podIP']}:8000/metrics"
    return int(await _gauge(lab, url, "lab:wake_calls_total"))


async def _gauge(lab: Lab, url: str, start: str) -> float:
    async with lab.scene.session.get(url) as reply:
        text = await reply.text()
    return next((float(x.rpartition(" ")[2]) for x in text.splitlines() if x.startswith(start)), 0.0)


def _forget_peak(pid: int) -> None:
    """The kernel's high-water mark of the process begins anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _short(burst: Burst) -> str:
    return (
        f"{burst.wake_calls} wake calls, {burst.answered} answered, {burst.told} told 429, {len(burst.faults)} faults"
        f" {burst.faults[:3]}; {burst.held_max} held at once, the last done after {burst.last_s:.1f} s;"
        f" router {burst.before_mib:.0f} MiB, at most {burst.peak_mib:.0f} MiB, {burst.held_kib:.0f} KiB a held request"
    )


def _rows(name: str, burst: Burst, room: int, counts: list[int]) -> list[Row]:
    asked = sum(counts)
    row = partial(_row, name)
    found = [
        row("wake_calls", burst.wake_calls, "calls", "1", burst.wake_calls == 1),
        row(
            "answered_or_told",
            sum(burst.answered) + burst.told,
            f"of {asked}",
            str(asked),
            not burst.faults,
        ),
        row("answered", sum(burst.answered), f"of {asked}", None, None),
        row("told_429", burst.told, f"of {asked}", None, None),
        row("held_at_once", burst.held_max, "requests", f"<= {room}", burst.held_max <= room),
        row("last_answer_s", round(burst.last_s, 2), "s", None, None),
        row("router_before_mib", round(burst.before_mib, 1), "MiB", None, None),
        row("router_peak_mib", round(burst.peak_mib, 1), "MiB", None, None),
    ]
    if len(counts) == 1:  # later ones find the memory that the first has taken from the system
        found.append(row("held_request_kib", round(burst.held_kib, 1), "KiB each", None, None))
    else:
        few, met = burst.answered[-1], burst.answered[-1] == counts[-1]
        found.append(row("small_tenant_answered", few, f"of {counts[-1]}", str(counts[-1]), met))
    return found


def _row(prefix: str, name: str, value: Any, unit: str, target: str | None, met: bool | None) -> Row:
    return {
        "name": f"{prefix}_{name}",
        "value": value,
        "unit": unit,
        "target": target,
        "met": met,
        "baseline": None,
        "baseline_value": None,
    }


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(measure()), indent=1).decode())
