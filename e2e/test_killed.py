"""kill -9 of any process at any moment: the same end state, no claim left over, no GPU oversold."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable

import pytest

from ingle_lab.checks import Traffic
from ingle_lab.checks.traffic import retryable
from ingle_lab.demo import steps
from ingle_lab.demo.scene import COLD_POOL, NAMESPACE, WARM_POOLS, Scene

Kill = Callable[[Scene, random.Random], Awaitable[None]]


def container(pod: str, name: str) -> Kill:
    async def kill(scene: Scene, luck: random.Random) -> None:
        await scene.stack.kill(pod, name)

    return kill


def part(name: str) -> Kill:
    async def kill(scene: Scene, luck: random.Random) -> None:
        plane = scene.stack.plane
        assert plane is not None
        await asyncio.to_thread(plane.kill, name)
        await asyncio.to_thread(plane.restart, name)

    return kill


async def any_engine(scene: Scene, luck: random.Random) -> None:
    pods = [scene.engines(pool)[0] for pool in WARM_POOLS]
    pod = luck.choice(sorted(pods, key=lambda p: str(p["metadata"]["name"])))
    pid = await scene.stack.pid(pod["metadata"]["name"], "engine", NAMESPACE)
    os.kill(pid, signal.SIGKILL)


async def every_agent(scene: Scene, luck: random.Random) -> None:
    """Of each, who reads or who sets limits."""
    for node in luck.sample(scene.stack.nodes, len(scene.stack.nodes)):
        await scene.stack.kill(f"ingle-agent-{node.name}", luck.choice(("agent", "setter")))
        await asyncio.sleep(luck.uniform(0, 0.5))


async def node_program(scene: Scene, luck: random.Random) -> None:
    await scene.stack.kill_nodes()
    scene.stack.start_nodes()


HARMLESS: dict[str, Kill] = {
    "operator": container("ingle-operator-0", "operator"),
    "extender": container("ingle-scheduler-0", "extender"),
    "kube-scheduler": container("ingle-scheduler-0", "kube-scheduler"),
    "agents": every_agent,
}
"""Not in the path of a request: no client may notice."""

NOTICED: dict[str, Kill] = {
    "router": container("ingle-gateway-0", "router"),
    "envoy": container("ingle-gateway-0", "envoy"),
    "engine": any_engine,
    "nodes": node_program,
    "kube-apiserver": part("kube-apiserver"),
    "etcd": part("etcd"),
}
"""In the path, or asked who a caller is: a client may have to ask again."""


WITH_A_START = ("operator", "extender", "kube-scheduler", "kube-apiserver")
"""Killed while a cold pool starts an engine too."""


async def killed_during_traffic(scene: Scene, seed: int, name: str, kill: Kill) -> Traffic:
    """Traffic over all pools, the kill at a seeded moment of it; returns when both are done and all is ready again."""
    luck = random.Random(f"{seed} {name}")
    pools = (*WARM_POOLS, COLD_POOL) if name in WITH_A_START else WARM_POOLS
    traffic = Traffic(scene.clients["team"], pools, luck.randrange(1 << 30))
    running = asyncio.create_task(traffic.run())
    at_s = luck.uniform(0, traffic.length_s)
    await asyncio.sleep(at_s)
    print(f"{name} is killed {at_s:.2f} s into the traffic")
    await kill(scene, luck)
    await running
    await scene.until("our pods to be ready again", scene.stack.pods_ready)
    return traffic


async def serves_again(scene: Scene) -> None:
    for pool in WARM_POOLS:
        answer = await scene.clients["team"].ask(pool)
        assert answer.good, answer


@pytest.mark.parametrize("name", HARMLESS)
async def test_a_killed_process_beside_the_path_is_noticed_by_no_client(
    scene: Scene, seed: int, name: str
) -> None:
    traffic = await killed_during_traffic(scene, seed, name, HARMLESS[name])
    assert [answer for answer in traffic.answers if not answer.good] == []


@pytest.mark.parametrize("name", NOTICED)
async def test_a_killed_process_in_the_path_costs_at_most_errors_that_may_be_retried(
    scene: Scene, seed: int, name: str
) -> None:
    traffic = await killed_during_traffic(scene, seed, name, NOTICED[name])
    assert [answer for answer in traffic.answers if not answer.good and not retryable(answer)] == []
    await serves_again(scene)


async def test_an_operator_killed_in_the_middle_of_a_wake_loses_and_doubles_nothing(scene: Scene) -> None:
    await steps.operator_killed(scene)
