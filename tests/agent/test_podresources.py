"""Which GPUs are ours, as the kubelet tells it: over its real protocol, from the kubelet's stand-in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ingle_agent.podresources import SILENT, HolderCheck, Holding, ask, holding
from ingle_kit.holders import holder_name
from ingle_kit.kube import Object
from ingle_kit.names import SYSTEM_NAMESPACE
from ingle_kit.podresources import Given
from ingle_lab.node.podresources import serving

GPU, OURS = "nvidia.com/gpu", holder_name("n1", 0)


def of_holder(
    device: str, *, pod: str = OURS, namespace: str = SYSTEM_NAMESPACE, resource: str = GPU
) -> Given:
    return Given(namespace, pod, "holder", resource, device)


def of_team(device: str, resource: str = GPU) -> Given:
    return Given("team", "train", "main", resource, device)


@pytest.mark.parametrize(
    ("devices", "held_by"),
    [
        ([], "Nobody"),
        ([of_holder("GPU-a")], "Holder"),
        ([of_holder("GPU-b")], "Nobody"),
        ([of_holder("GPU-a", pod=holder_name("n1", 3))], "Holder"),
        ([of_holder("GPU-a", pod=holder_name("n2", 0))], "Other"),
        ([of_holder("GPU-a", namespace="team")], "Other"),
        ([of_holder("GPU-a::0")], "Other"),
        ([of_holder("GPU-a", resource="nvidia.com/gpu.shared")], "Other"),
        ([of_holder("GPU-a", resource="example.com/nic")], "Nobody"),
        ([of_team("GPU-a")], "Other"),
        ([of_team("GPU-a::1", "nvidia.com/gpu.shared")], "Other"),
        ([of_holder("GPU-a"), of_team("GPU-a")], "Other"),
        ([of_team("GPU-a"), of_holder("GPU-a")], "Other"),
        ([of_holder("GPU-a"), of_team("GPU-b")], "Holder"),
    ],
)
def test_a_gpu_is_ours_only_where_a_holder_alone_has_it_whole(devices: list[Given], held_by: str) -> None:
    assert holding(devices, SYSTEM_NAMESPACE, "n1").held_by("GPU-a") == held_by


def test_of_a_silent_kubelet_nothing_is_known() -> None:
    assert SILENT.held_by("GPU-a") == "Unknown"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def check_of(socket: Path | str, clock: Clock, told: list[bool]) -> HolderCheck:
    return HolderCheck(
        str(socket),
        node="n1",
        namespace=SYSTEM_NAMESPACE,
        pause_s=1.0,
        stale_s=120.0,
        on_change=lambda: told.append(True),
        clock=clock,
    )


async def test_the_last_answer_holds_while_the_kubelet_restarts_and_no_longer(tmp_path: Path) -> None:
    socket, clock, told = tmp_path / "kubelet.sock", Clock(), list[bool]()
    check = check_of(socket, clock, told)
    assert check.holding == SILENT
    await check.look()
    assert (check.holding, told) == (SILENT, [])
    ours = Holding(frozenset({"GPU-a"}), frozenset({"GPU-b"}))
    async with serving(socket, lambda: [of_holder("GPU-a"), of_team("GPU-b")]):
        await check.look()
        await check.look()
    assert (check.holding, told) == (ours, [True])
    clock.now_s = 119.0
    await check.look()
    assert check.holding == ours
    clock.now_s = 121.0
    await check.look()
    assert (check.holding, told) == (SILENT, [True, True])
    async with serving(socket, lambda: [of_holder("GPU-a")]):
        await check.look()
    assert check.holding == Holding(frozenset({"GPU-a"}))


async def test_without_a_socket_nothing_is_asked() -> None:
    check = check_of("", Clock(), [])
    await check.look()
    assert check.holding is None


async def test_a_kubelet_that_hangs_or_talks_too_long_is_a_silent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingle_agent.podresources.CALL_LIMIT_S", 0.2)
    accepted = await asyncio.start_unix_server(lambda *_: asyncio.sleep(5), tmp_path / "hangs.sock")
    with pytest.raises(OSError, match="DEADLINE_EXCEEDED"):
        await ask(str(tmp_path / "hangs.sock"))
    accepted.close()
    monkeypatch.setattr("ingle_agent.podresources.ANSWER_BYTES_MAX", 1000)
    async with serving(tmp_path / "long.sock", lambda: [of_team(f"GPU-{n}") for n in range(1000)]):
        with pytest.raises(OSError, match="RESOURCE_EXHAUSTED"):
            await ask(str(tmp_path / "long.sock"))


async def test_the_nodes_status_tells_who_has_each_gpu_and_of_claims_on_others(
    make_node: Any, until: Any, tmp_path: Path
) -> None:
    node, socket = make_node(), tmp_path / "kubelet.sock"
    await node.create(revision=1, claims={0: [("u1", 1000, 0)], 1: [("u2", 1000, 0)]})
    mine = [Given(SYSTEM_NAMESPACE, holder_name(node.name, 0), "holder", GPU, node.uuids[0])]
    foreign = [of_team(node.uuids[1])]

    async def attached(status: str) -> Object:
        async def so() -> Object | None:
            found = (await node.status()).get("conditions") or []
            one = next((c for c in found if c["type"] == "Attached"), None)
            return one if one and one["status"] == status else None

        return await until(so, f"Attached is {status}", node.log)

    async with serving(socket, lambda: mine + foreign):
        node.start(
            INGLE_POD_RESOURCES_SOCKET=str(socket),
            INGLE_POD_RESOURCES_SECONDS="0.1",
            INGLE_POD_RESOURCES_STALE_SECONDS="0.5",
        )
        taken = await attached("False")
        assert (taken["reason"], taken["message"]) == (
            "GPUNotHeld",
            f"the kubelet gave {node.uuids[1]} to a pod that is not ours",
        )
        held = [gpu["heldBy"] for gpu in (await node.status())["gpus"]]
        assert held == ["Holder", "Other", *["Nobody"] * 6]
        foreign.clear()
        await attached("True")
    assert (await attached("Unknown"))["reason"] == "KubeletSilent"
    assert {gpu["heldBy"] for gpu in (await node.status())["gpus"]} == {"Unknown"}
