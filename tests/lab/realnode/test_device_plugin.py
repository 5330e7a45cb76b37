"""The stand-in for NVIDIA's device plugin, asked over a socket as the kubelet does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ingle_lab.realnode.device_plugin import ENDPOINT, MESSAGES, RESOURCE, VERSION, serve

UUIDS = ("GPU-a", "GPU-b")


def clear(folder: Path) -> None:
    for stale in folder.iterdir():
        stale.unlink(missing_ok=True)


@asynccontextmanager
async def kubelet(folder: Path, registered: asyncio.Queue[bytes]) -> AsyncIterator[None]:
    """Its registry of plugins. One that starts clears the folder first, as the kubelet does."""
    clear(folder)

    async def register(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        await registered.put(request)
        return b""

    server = grpc.aio.server()
    methods = {"Register": grpc.unary_unary_rpc_method_handler(register)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"{VERSION}.Registration", methods),)
    )
    server.add_insecure_port(f"unix:{folder / 'kubelet.sock'}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """Where the plugin serves."""
    task = asyncio.create_task(serve(tmp_path, UUIDS))
    yield tmp_path
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_it_registers_the_vendors_resource_again_with_each_kubelet(folder: Path) -> None:
    registered: asyncio.Queue[bytes] = asyncio.Queue()
    for _ in range(2):
        async with kubelet(folder, registered):
            request = MESSAGES["RegisterRequest"].FromString(await asyncio.wait_for(registered.get(), 20))
            assert (request.version, request.endpoint, request.resource_name) == (VERSION, ENDPOINT, RESOURCE)


async def test_it_offers_every_gpu_and_names_those_that_a_container_gets(folder: Path) -> None:
    registered: asyncio.Queue[bytes] = asyncio.Queue()
    async with kubelet(folder, registered):
        await asyncio.wait_for(registered.get(), 20)
        async with grpc.aio.insecure_channel(f"unix:{folder / ENDPOINT}") as channel:
            stream = channel.unary_stream(f"/{VERSION}.DevicePlugin/ListAndWatch")(b"", timeout=20)
            offered = MESSAGES["ListAndWatchResponse"].FromString(await anext(aiter(stream)))
            assert {(device.ID, device.health) for device in offered.devices} == {
                (u, "Healthy") for u in UUIDS
            }
            request = MESSAGES["AllocateRequest"]()
            request.container_requests.add(devices_ids=UUIDS)
            call = channel.unary_unary(f"/{VERSION}.DevicePlugin/Allocate")
            answer = MESSAGES["AllocateResponse"].FromString(
                await call(request.SerializeToString(), timeout=20)
            )
    (given,) = answer.container_responses
    assert [(one.key, one.value) for one in given.envs] == [("NVIDIA_VISIBLE_DEVICES", "GPU-a,GPU-b")]
