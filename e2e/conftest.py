"""One lab for the session: stand-in nodes, a real control plane, all of Ingle. Each test leaves it as it found it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from rich.console import Console

from ingle_kit.names import INFERENCE_POOL
from ingle_lab.checks import processes_of, wrong_claims
from ingle_lab.controlplane import Settings
from ingle_lab.demo.scene import (
    COLD_POOL,
    NAMESPACE,
    WARM_POOLS,
    Scene,
    apply_examples,
    make_clients,
    start_witness,
)
from ingle_lab.stack import Stack

SETTINGS = {"INGLE_WAKE_LIMIT_S": "5", "INGLE_SLEEP_LIMIT_S": "5"}
IDLE_S = 1
BASE = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every coroutine runs in the loop of the session's lab."""
    for item in items:
        if isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.obj):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def lab() -> Iterator[Path]:
    """The lab's folder; kept, with its logs, where INGLE_E2E_LAB names it."""
    if named := os.environ.get("INGLE_E2E_LAB"):
        yield Path(named).absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="ingle-e2e-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole(lab: Path) -> AsyncIterator[Scene]:
    """The lab, with the examples applied, every pool ready, sleepers asleep, and the witness watching."""
    stack = Stack(lab, base=BASE, plane=Settings(ports="auto"), settings=SETTINGS, say=print)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, stack:
        scene = Scene(stack, session, Console(soft_wrap=True), time.time())
        await scene.watch()
        await apply_examples(scene)
        for pool in (*WARM_POOLS, COLD_POOL):
            await stack.api.merge_patch(
                INFERENCE_POOL, pool, {"spec": {"warm": {"idleSeconds": IDLE_S}}}, NAMESPACE
            )
        await start_witness(scene)
        await make_clients(scene)
        await as_found(scene)
        yield scene
        await scene.close()
        nothing_was_wrong(scene)
    assert not processes_of(lab)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(whole: Scene) -> AsyncIterator[Scene]:
    """The lab for one test; afterwards everything is asleep again, no claim is left, and the witness saw no wrong."""
    yield whole
    await as_found(whole)
    # readings of the last second are judged within a later test, or at the end of the session
    nothing_was_wrong(whole)


def nothing_was_wrong(scene: Scene) -> None:
    """Limits were never above the cap, and no GPU held more memory than the ledger says."""
    assert scene.witness is not None
    counts = scene.witness.counts
    assert counts.budget_violations == 0, counts.worst
    assert counts.oversold_samples == 0, counts.worst


async def as_found(scene: Scene) -> None:
    """Waits until each warm pool has one sleeper, nothing else runs, and the ledgers agree with the pods."""
    seen: list[str] = []

    def settled() -> bool:
        seen[:] = _unsettled(scene)
        return not seen

    try:
        await scene.until("the lab to be as it was", settled, 60)
    except Exception as error:
        raise AssertionError(f"{error}: {'; '.join(seen)}") from None


def _unsettled(scene: Scene) -> list[str]:
    wrong = wrong_claims(scene.gpu_nodes.store.values(), scene.pods.store.values())
    pools = {name for _, name in scene.pools.store}
    if pools != {*WARM_POOLS, COLD_POOL}:
        wrong.append(f"pools: {', '.join(sorted(pools))}")
    for name in WARM_POOLS:
        counts = scene.replicas(name)
        if (
            counts.get("asleep") != 1
            or counts.get("awake")
            or counts.get("starting")
            or len(scene.engines(name)) != 1
        ):
            wrong.append(f"{name}: {counts}, {len(scene.engines(name))} engines")
    if engines := scene.engines(COLD_POOL):
        wrong.append(f"{COLD_POOL}: {len(engines)} engines")
    states = [p["state"] for n in scene.gpu_nodes.store.values() for p in n["spec"].get("pods") or ()]
    if states != ["Asleep"] * len(WARM_POOLS):
        wrong.append(f"ledger: {states}")
    return wrong


@pytest.fixture
def seed() -> int:
    """Of everything random; another one with INGLE_E2E_SEED."""
    return int(os.environ.get("INGLE_E2E_SEED", "1"))


Command = Callable[..., Any]
"""Runs a program as a person would; gives (exit code, output, errors)."""


async def _run(*words: str, text: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *words,
        env=os.environ | {"COLUMNS": "160"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def kubectl(scene: Scene) -> Command:
    """As administrator, unless `kubeconfig` says otherwise; `text` is its input."""
    plane = scene.stack.plane
    assert plane is not None
    program, admin = str(plane.kubectl), plane.kubeconfig

    async def run(*words: str, text: str = "", kubeconfig: Path = admin) -> tuple[int, str, str]:
        return await _run(program, "--kubeconfig", str(kubeconfig), *words, text=text)

    return run


@pytest.fixture
def ingle(scene: Scene) -> Command:
    """The command `ingle`, as administrator, unless `kubeconfig` says otherwise."""
    assert scene.stack.plane is not None
    program, admin = str(Path(sys.executable).with_name("ingle")), scene.stack.plane.kubeconfig

    async def run(*words: str, kubeconfig: Path = admin) -> tuple[int, str, str]:
        return await _run(program, *words, "--kubeconfig", str(kubeconfig))

    return run
