"""The agent as a whole: registration, limits, faults, restarts, silence. Parts alone are in the files beside."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingle_kit.names import GPU_NODE
from ingle_lab.gpu import inject, read_gpus

HOLDER = """
import sys
from ingle_lab.gpu import Slot
slot = Slot(sys.argv[1], [sys.argv[2]])
slot.hold(int(sys.argv[3]))
print("held", flush=True)
sys.stdin.read()
"""
OTHER_ADMIN = """
import pynvml
pynvml.nvmlInit()
pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(4), 650000)
"""
GIB = 1024**3


@contextmanager
def holding(node: Any, gpu: int, size_bytes: int, pod_uid: str = "") -> Iterator[int]:
    """Another process that holds GPU memory; gives its pid."""
    command = [sys.executable, "-c", HOLDER, str(node.state), node.uuids[gpu], str(size_bytes)]
    env = {**node.env, **({"INGLE_POD_UID": pod_uid} if pod_uid else {})}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.kill()


def numa_zone(folder: Path, zone: int) -> None:
    path = folder / "numa" / f"node{zone}"
    path.mkdir(parents=True)
    (path / "cpulist").write_text(f"{zone * 8}-{zone * 8 + 7}\n")
    (path / "meminfo").write_text(f"Node {zone} MemTotal:  1048576 kB\nNode {zone} MemFree:  524288 kB\n")


async def condition(node: Any, type: str, status: str, until: Callable[..., Any]) -> dict[str, Any]:
    async def seen() -> dict[str, Any] | None:
        found = (await node.status()).get("conditions") or []
        return next((c for c in found if c["type"] == type and c["status"] == status), None)

    got: dict[str, Any] = await until(seen, f"{type}={status}")
    return got


async def test_a_dgx_a100_is_registered_with_its_zones_and_switched_links(make_node: Any, until: Any) -> None:
    node = make_node("dgx-a100")
    for zone in range(8):
        numa_zone(node.folder, zone)
    node.start()
    await node.answers()
    assert (await node.text("/healthz")) == "ok\n"
    await node.create(revision=1)
    status = await node.observed(1)
    assert "ingle_watch_age_seconds" in await node.text("/metrics")
    assert [gpu["numa"] for gpu in status["gpus"]] == [3, 3, 1, 1, 7, 7, 5, 5]
    assert [gpu["uuid"] for gpu in status["gpus"]] == node.uuids
    assert all(
        sorted(gpu["nvlinkPeers"]) == sorted(set(node.uuids) - {gpu["uuid"]}) for gpu in status["gpus"]
    )
    first = status["gpus"][0]
    assert first["watts"] == {"limit": 400, "enforced": 400, "min": 100, "max": 400, "default": 400}
    assert first["memoryMiB"] == {"total": 81920, "reserved": 583, "free": 81337, "foreign": 0}
    assert status["numa"][3] == {"zone": 3, "cpus": "24-31", "memoryMiB": {"total": 1024, "free": 512}}
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True",
        "Stalled": "False",
        "Attached": "True",
    }


async def test_gpus_wired_in_pairs_have_only_their_partner_as_peer(make_node: Any) -> None:
    node = make_node("nv3-pairs-4gpu")
    node.start()
    await node.create(revision=1)
    a, b, c, d = node.uuids
    status = await node.observed(1)
    assert [gpu["nvlinkPeers"] for gpu in status["gpus"]] == [[b], [a], [d], [c]]


async def test_lowered_limits_are_in_force_before_others_rise(make_node: Any) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1, allotted=2600, claims={0: [("a", 1000, 700)], 1: [("b", 1000, 700)]})
    await node.observed(1)
    assert node.limits()[:3] == [700, 700, 200]
    seen: list[list[int]] = []

    async def sample() -> None:
        """Two equal scans in a row are one moment; GPUs are read one after the other."""
        while True:
            first, second = node.limits(), node.limits()
            if first == second:
                seen.append(second)
            await asyncio.sleep(0)

    sampling = asyncio.create_task(sample())
    await node.change(revision=2, allotted=2600, claims={6: [("c", 1000, 700)], 7: [("d", 1000, 700)]})
    await node.observed(2)
    sampling.cancel()
    assert node.limits() == [200, 200, 200, 200, 200, 200, 700, 700]
    assert max(sum(limits) for limits in seen) <= 2600


async def test_a_cut_allotment_scales_limits_down_and_goes_back_when_none_is_left(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1, allotted=2600, claims={0: [("a", 1000, 700)], 1: [("b", 1000, 700)]})
    await node.observed(1)
    await node.change(revision=2, allotted=2000, claims={0: [("a", 1000, 700)], 1: [("b", 1000, 700)]})
    await node.observed(2)
    assert node.limits() == [400, 400, *[200] * 6]
    await node.change(revision=3, allotted=None)
    await node.observed(3)
    assert node.limits() == [700] * 8
    await until(lambda: json.loads(node.journal.read_text())["previousWatts"] == {}, "journal is empty")


async def test_without_the_right_to_set_limits_the_node_says_so_and_keeps_reading(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    for index in range(8):
        inject(node.state, index, "NoPermission")
    node.start()
    await node.create(revision=1, allotted=2000)
    stalled = await condition(node, "Stalled", "True", until)
    assert stalled["reason"] == "LimitsNotSet"
    assert "CAP_SYS_ADMIN" in stalled["message"]
    message = await anext(node.messages())
    assert not message["caps_in_force"]
    assert message["gpus"][0]["draw_w"] > 0
    assert 'ingle_agent_nvml_errors_total{error="NoPermission"}' in await node.text("/metrics")


async def test_a_gpu_lost_while_running_is_charged_its_maximum_and_reported_at_once(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start()
    claims = {0: [("a", 1000, 700)], 1: [("b", 1000, 700)]}
    await node.create(revision=1, allotted=2600, claims=claims)
    await node.observed(1)
    stream = node.messages()
    await anext(stream)
    inject(node.state, 7, "GpuIsLost")
    async for message in stream:
        if message["gpus"][7]["health"] == "Lost":
            break
    ready = await condition(node, "Ready", "False", until)
    assert ready["reason"] == "GPULost"
    assert node.uuids[7] in ready["message"]
    await until(lambda: sum(node.limits()[:7]) <= 2600 - 700, "the others make room for 700 W")
    inject(node.state, 7, clear=True)
    await condition(node, "Ready", "True", until)
    await until(lambda: node.limits() == [700, 700, *[200] * 6], "limits are back")


async def test_killed_and_started_again_it_keeps_the_caps_and_can_still_restore(make_node: Any) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1, allotted=2000)
    await node.observed(1)
    node.end(signal.SIGKILL)
    assert node.limits() == [200] * 8
    await node.change(revision=2, allotted=2000, claims={0: [("a", 1000, 400)]})
    node.start()
    await node.observed(2)
    assert node.limits() == [400, *[200] * 7]
    assert node.end() == 0
    assert node.limits() == [400, *[200] * 7]
    done = node.restore()
    assert (done.returncode, done.stderr) == (0, "")
    assert node.limits() == [700] * 8


async def test_with_nobody_listening_it_falls_to_safe_watts_and_rises_when_somebody_does(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start(INGLE_SILENT_SECONDS="0.5")
    await node.create(revision=1, allotted=3000, safe=1800, claims={0: [("a", 1000, 700)]})
    await until(lambda: node.limits() == [400, *[200] * 7], "safe caps")
    async for message in node.messages():
        if message["caps_in_force"] and message["gpus"][0]["enforced_w"] == 700:
            break
    await until(lambda: node.limits() == [400, *[200] * 7], "safe caps again")


async def test_foreign_memory_is_told_from_that_of_our_pods(make_node: Any, until: Any) -> None:
    node = make_node()
    node.start()
    uid = "11111111-2222-3333-4444-555555555555"
    await node.create(revision=1, claims={0: [(uid, 3000, 300)]})
    await node.observed(1)
    with holding(node, 0, 2 * GIB, uid), holding(node, 0, GIB) as foreign:

        async def counted() -> dict[str, Any] | None:
            memory: dict[str, Any] = (await node.status())["gpus"][0]["memoryMiB"]
            return memory if memory["foreign"] == 1024 else None

        memory = await until(counted, "1 GiB is foreign")
        assert memory["free"] <= memory["total"] - 3072
        message = await anext(node.messages())
        held = {p["pod_uid"]: p["memory_mib"] for p in message["gpus"][0]["processes"]}
        assert held == {uid: 2048, "": 1024}
        assert foreign in {p["pid"] for p in message["gpus"][0]["processes"]}


async def test_a_change_of_memory_is_sent_at_once_and_else_about_once_a_second(make_node: Any) -> None:
    node = make_node()
    node.start(INGLE_SAMPLE_SECONDS="0.05")
    await node.create(revision=1)
    await node.observed(1)
    stream = node.messages()
    first = await anext(stream)
    second = await anext(stream)
    assert second["at_s"] - first["at_s"] > 0.5
    with holding(node, 3, GIB):
        began = time.time()
        async for message in stream:
            if message["gpus"][3]["processes"]:
                break
        assert message["at_s"] - began < 0.9


async def test_status_is_not_written_while_nothing_changes(make_node: Any, until: Any) -> None:
    node = make_node()
    node.start(INGLE_SAMPLE_SECONDS="0.02")
    await node.create(revision=1, allotted=2000)
    await node.observed(1)
    before = await node.status()
    seen: list[dict[str, Any]] = []
    async for message in node.messages():
        seen.append(message)
        if len(seen) == 4:
            break
    assert (await node.status()) == before


async def test_an_out_of_band_limit_is_reported_as_enforced(make_node: Any, until: Any) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1)
    await node.observed(1)
    inject(node.state, 2, enforced_w=300)

    async def enforced() -> bool:
        watts = (await node.status())["gpus"][2]["watts"]
        return (watts["limit"], watts["enforced"]) == (700, 300)

    await until(enforced, "300 W enforced, 700 W asked")


async def test_sigterm_ends_open_streams_and_the_process(make_node: Any) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1, allotted=2000)
    await node.observed(1)
    stream = node.messages()
    await anext(stream)
    ending = asyncio.create_task(asyncio.to_thread(node.end))
    async for _ in stream:
        pass
    assert await ending == 0
    assert node.limits() == [200] * 8


async def test_a_deleted_ledger_changes_no_limit_and_a_new_one_is_followed(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start()
    await node.create(revision=5, allotted=2000)
    await node.observed(5)
    await node.kube.delete(GPU_NODE, node.name)
    assert node.limits() == [200] * 8
    await node.create(revision=1, allotted=2000, claims={3: [("a", 1000, 500)]})
    await node.observed(1)
    assert node.limits() == [200, 200, 200, 500, 200, 200, 200, 200]


async def test_a_limit_changed_by_somebody_else_is_set_back(make_node: Any, until: Any) -> None:
    node = make_node()
    node.start()
    await node.create(revision=1, allotted=2000)
    await node.observed(1)
    setting = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER_ADMIN, env=node.env)
    assert await setting.wait() == 0
    await until(lambda: round(read_gpus(node.state)[4].limit_w) == 200, "200 W again")


async def test_a_pod_on_a_gpu_it_does_not_claim_makes_the_node_say_so_until_it_leaves(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start()
    uid = "33333333-3333-3333-3333-333333333333"
    await node.create(revision=1, claims={0: [(uid, 1000, 0)]})
    await condition(node, "Attached", "True", until)
    with holding(node, 1, GIB, pod_uid=uid):
        told = await condition(node, "Attached", "False", until)
        assert told["reason"] == "WrongGPU"
        assert told["message"] == f"pod {uid} uses {node.uuids[1]}, its GPUs are {node.uuids[0]}"
        assert [(m["podUID"], m["reason"]) for m in (await node.status())["misplaced"]] == [(uid, "WrongGPU")]
    await condition(node, "Attached", "True", until)
    assert (await node.status())["misplaced"] == []
