"""kill -9 of operator, router, engines and agents, and restarts of the API server, while models wake and sleep.

500 kills from a seed, in ten rounds. In a round each kind of process is killed again and again at random moments, all
kinds side by side, under requests that never stop; how often each kind follows from `SHARES`. A client that is told
to ask again does so, until it is answered. A round ends when every pool has its one sleeper again, our pods are
ready, and each claim in the ledgers has its pod. Engines run at time scale 0.1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.parts import Progress, Row
from bench.real.rows import at_most, told
from bench.warmreal.lab import NODES, Lab, open_lab
from bench.warmreal.pools import model_of, names, pool
from ingle_kit.kube import KubeError
from ingle_kit.names import INFERENCE_POOL
from ingle_kit.streams import MIB
from ingle_lab.checks import wrong_claims
from ingle_lab.checks.traffic import retryable
from ingle_lab.demo.clients import Answer
from ingle_lab.demo.scene import NAMESPACE
from ingle_lab.stack import StackError

SEED = 7
TIME_SCALE = 0.1
IDLE_S = 1
HOLD_S = 60
SHARES = {"operator": 4, "router": 4, "engine": 27, "agent": 13, "apiserver": 2}
PAUSE_S = {"operator": 2.5, "router": 3.0, "engine": 0.7, "agent": 1.4, "apiserver": 5.0}
REQUESTS_A_SECOND = 4.0
AGAIN_S = (1.0, 8.0)  # the first pause, and the longest: each is twice the one before
AGAIN_LIMIT_S = 180.0
KILL_LIMIT_S = 60.0
SETTLE_LIMIT_S = 180.0
SETTINGS = {"INGLE_WAKE_LIMIT_S": "5", "INGLE_SLEEP_LIMIT_S": "5"}


@dataclass(frozen=True)
class Sizes:
    """`rounds` of as many kills as `SHARES` adds up to."""

    rounds: int = 10
    pools: int = 16


SMALL = Sizes(rounds=1)


@dataclass
class Seen:
    """`answers`: the last one of each request. `told`: why clients had to ask again, and how often. `lost`: requests
    that got neither an answer nor an error that may be retried; `given_up`: that were told to ask again to the last.
    `astray`: rounds that did not come back to the end state in time, and processes that did not come up.
    """

    kills: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    astray: int = 0
    leaked_bytes: int = 0
    longest_settle_s: float = 0.0

    @property
    def lost(self) -> int:
        return sum(not answer.good and not retryable(answer) for answer in self.answers)

    @property
    def given_up(self) -> int:
        return sum(not answer.good and retryable(answer) for answer in self.answers)


def rows(tell: Progress) -> list[Row]:
    sizes = SMALL if os.environ.get("BENCH_SMALL") else Sizes()
    return asyncio.run(_measure(sizes, tell))


async def _measure(sizes: Sizes, tell: Progress) -> list[Row]:
    logging.getLogger("ingle_kit.watch").setLevel(logging.ERROR)  # that the API server goes away is the point
    pools, seen = names(sizes.pools), Seen()
    started_s = time.monotonic()
    async with open_lab(TIME_SCALE, tell, **SETTINGS) as lab:
        before = _used_bytes(lab)
        await lab.apply(pool(name, asleep=1, idle_s=IDLE_S, hold_s=HOLD_S) for name in pools)
        await lab.asleep(pools, 120)
        for number in range(sizes.rounds):
            await _round(lab, pools, random.Random(f"{SEED} {number}"), seen)
            tell(
                f"round {number + 1} of {sizes.rounds}: {sum(seen.kills.values())} kills, {len(seen.answers)}"
                f" requests, {seen.asked_again} of them asked again, {seen.given_up} to the last, {seen.lost} lost;"
                f" {time.monotonic() - started_s:.0f} s"
            )
        tell(f"why they asked again: {dict(seen.told.most_common(8))}")
        for name in pools:
            await lab.scene.stack.api.delete(INFERENCE_POOL, name, NAMESPACE)
        seen.leaked_bytes = await _left(lab, before)
        witnessed = lab.witnessed
        for text in witnessed.worst[:5]:
            tell(text)
    return _rows(seen, witnessed.oversold_samples, witnessed.memory_samples)


async def _round(lab: Lab, pools: Sequence[str], luck: random.Random, seen: Seen) -> None:
    """All kills of one round under requests, then the end state."""
    stop = asyncio.Event()
    traffic = asyncio.create_task(_traffic(lab, pools, random.Random(luck.random()), stop, seen))
    async with asyncio.TaskGroup() as lanes:
        for kind, count in SHARES.items():
            lanes.create_task(_lane(lab, kind, count, random.Random(luck.random()), seen))
    stop.set()
    started_s = time.monotonic()
    answers = await traffic
    seen.answers += answers
    for answer in [a for a in answers if not a.good][:5]:
        lab.tell(f"lost: {answer}")
    wrong: list[str] = []
    try:
        await lab.until("the end state", lambda: not _unsettled(lab, pools, wrong), SETTLE_LIMIT_S)
        await lab.scene.until("our pods to be ready", lab.scene.stack.pods_ready)
    except StackError:
        seen.astray += 1
        lab.tell(f"no end state after {SETTLE_LIMIT_S:.0f} s: {'; '.join(wrong[:6])}")
    seen.longest_settle_s = max(seen.longest_settle_s, time.monotonic() - started_s)


async def _traffic(
    lab: Lab, pools: Sequence[str], luck: random.Random, stop: asyncio.Event, seen: Seen
) -> list[Answer]:
    """Requests as a Poisson process over all pools until told to stop; returns the last answer of each."""
    asked: list[asyncio.Task[Answer]] = []
    while not stop.is_set():
        await asyncio.sleep(luck.expovariate(REQUESTS_A_SECOND))
        ask = _answered(lab, model_of(luck.choice(pools)), luck.randint(1, 60), seen)
        asked.append(asyncio.create_task(ask))
    return list(await asyncio.gather(*asked))


async def _answered(lab: Lab, model: str, tokens: int, seen: Seen) -> Answer:
    """Asks, and again while it is told that it may; the last answer."""
    deadline_s = time.monotonic() + AGAIN_LIMIT_S
    pause_s = AGAIN_S[0]
    answer = await lab.client.ask(model, tokens=tokens)
    seen.asked_again += not answer.good
    while not answer.good and retryable(answer) and time.monotonic() < deadline_s:
        seen.told[f"{answer.status} {answer.message or answer.fault.partition(':')[0]}"[:80]] += 1
        await asyncio.sleep(pause_s)
        pause_s = min(AGAIN_S[1], 2 * pause_s)
        answer = await lab.client.ask(model, tokens=tokens)
    return answer


async def _lane(lab: Lab, kind: str, count: int, luck: random.Random, seen: Seen) -> None:
    """Kills one kind of process `count` times, each time a random moment after the last one."""
    for _ in range(count):
        await asyncio.sleep(luck.uniform(0, 2 * PAUSE_S[kind]))
        try:
            await _kill(lab, kind, luck)
        except TimeoutError:
            seen.astray += 1
            lab.tell(f"{kind} did not come up within {KILL_LIMIT_S:.0f} s")
            return
        seen.kills[kind] += 1


async def _kill(lab: Lab, kind: str, luck: random.Random) -> None:
    """Kills it as soon as it runs. Raises TimeoutError when it does not come up."""
    async with asyncio.timeout(KILL_LIMIT_S):
        while True:
            try:
                if await _killed(lab, kind, luck):
                    return
            except (KubeError, StackError, OSError):
                pass  # not there now, or nobody to ask: the next look will tell
            await asyncio.sleep(0.1)


async def _killed(lab: Lab, kind: str, luck: random.Random) -> bool:
    stack = lab.scene.stack
    if kind == "apiserver":
        assert stack.plane is not None
        await asyncio.to_thread(stack.plane.kill, "kube-apiserver")
        await asyncio.to_thread(stack.plane.restart, "kube-apiserver")
    elif kind == "operator":
        await stack.kill("ingle-operator-0", "operator")
    elif kind == "router":
        await stack.kill("ingle-gateway-0", "router")
    elif kind == "agent":
        await stack.kill(f"ingle-agent-{luck.choice(NODES).name}", "agent")
    else:
        pods = sorted(name for _, name in lab.scene.pods.store)
        if not pods:
            return False
        os.kill(await stack.pid(luck.choice(pods), "engine", NAMESPACE), signal.SIGKILL)
    return True


def _unsettled(lab: Lab, pools: Sequence[str], wrong: list[str]) -> list[str]:
    """What differs from the end state, a sentence each; also left in `wrong`."""
    scene = lab.scene
    wrong[:] = wrong_claims(scene.gpu_nodes.store.values(), scene.pods.store.values())
    states = lab.moves.states()
    if states != {"Asleep": len(pools)}:
        wrong.append(f"ledgers: {dict(states)}")
    for name in pools:
        counts, engines = scene.replicas(name), len(scene.engines(name))
        if (counts.get("asleep"), counts.get("awake", 0), counts.get("starting", 0), engines) != (1, 0, 0, 1):
            wrong.append(f"{name}: {counts}, {engines} engines")
    return wrong


async def _left(lab: Lab, before: dict[str, int]) -> int:
    """Bytes of GPU memory that are still claimed or in use once every pool is deleted; waits for them to go."""

    def left() -> int:
        claimed: int = sum(
            claim["memoryMiB"] * MIB
            for node in lab.scene.gpu_nodes.store.values()
            for part in (*(node["spec"].get("gpus") or ()), *(node["spec"].get("zones") or ()))
            for claim in part["claims"]
        )
        used = _used_bytes(lab)
        return claimed + sum(max(0, used[uuid] - before[uuid]) for uuid in before)

    try:
        await lab.until("all memory to be free", lambda: not left(), SETTLE_LIMIT_S)
    except StackError as error:
        lab.tell(str(error))
    return left()


def _used_bytes(lab: Lab) -> dict[str, int]:
    """By GPU, as NVML says."""
    assert lab.scene.witness is not None
    found: dict[str, int] = {}
    for node in NODES:
        reading = lab.scene.witness.latest(node.name)
        found |= dict(
            zip(reading.get("uuids", ()), (int(used or 0) for used in reading.get("used", ())), strict=True)
        )
    return found


def _rows(seen: Seen, oversold: int, readings: int) -> list[Row]:
    kills = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.kills.items()))
    return [
        at_most(f"faults_rounds_without_the_same_end_state: {kills}", seen.astray, "rounds", 0),
        at_most(
            "faults_requests_lost: neither an answer nor an error that may be retried",
            seen.lost,
            "requests",
            0,
        ),
        at_most("faults_leaked_bytes", seen.leaked_bytes, "bytes", 0),
        at_most("faults_memory_above_ledger", oversold, "readings", 0),
        told("faults_memory_readings", readings, "readings"),
        told("faults_kills", sum(seen.kills.values()), "kills"),
        told("faults_requests", len(seen.answers), "requests"),
        told("faults_requests_asked_again: after an error that may be retried", seen.asked_again, "requests"),
        told(
            f"faults_requests_given_up: not answered within {AGAIN_LIMIT_S:.0f} s of asking again",
            seen.given_up,
            "requests",
        ),
        told("faults_longest_way_back_s", seen.longest_settle_s, "s"),
        told("faults_time_scale", TIME_SCALE, "lab seconds a profile second"),
    ]
