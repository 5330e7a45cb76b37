"""Stands for NVIDIA's device plugin: offers the node's simulated GPUs to the kubelet, by the real interface.

Run as `python -m ingle_lab.realnode.device_plugin UUID...` on the node. As NVIDIA's does by default, it names a
container's GPUs in NVIDIA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from ingle_kit.protobuf import Fields, messages

FOLDER: Final = Path("/var/lib/kubelet/device-plugins")
RESOURCE: Final = "nvidia.com/gpu"
ENDPOINT: Final = "simulated-gpus.sock"
VERSION: Final = "v1beta1"
_LOOK_S: Final = 0.2
_CALL_S: Final = 5.0
_FIELDS: Final[Fields] = {
    "Empty": (),
    "RegisterRequest": (("version", 1, ""), ("endpoint", 2, ""), ("resource_name", 3, "")),
    "Device": (("ID", 1, ""), ("health", 2, "")),
    "ListAndWatchResponse": (("devices", 1, "*Device"),),
    "ContainerAllocateRequest": (("devices_ids", 1, "*"),),
    "AllocateRequest": (("container_requests", 1, "*ContainerAllocateRequest"),),
    "Variable": (("key", 1, ""), ("value", 2, "")),  # what an entry of a map is on the wire
    "ContainerAllocateResponse": (("envs", 1, "*Variable"),),
    "AllocateResponse": (("container_responses", 1, "*ContainerAllocateResponse"),),
}
MESSAGES: Final = messages(VERSION, _FIELDS)


class Plugin:
    """What the kubelet may ask; every GPU is healthy."""

    def __init__(self, uuids: Sequence[str]) -> None:
        self._uuids = uuids

    async def options(self, _: bytes, __: grpc.aio.ServicerContext) -> bytes:
        return b""

    async def devices(self, _: bytes, __: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        answer = MESSAGES["ListAndWatchResponse"]()
        for uuid in self._uuids:
            answer.devices.add(ID=uuid, health="Healthy")
        yield answer.SerializeToString()
        await asyncio.Event().wait()

    async def allocate(self, request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        answer = MESSAGES["AllocateResponse"]()
        for container in MESSAGES["AllocateRequest"].FromString(request).container_requests:
            given = answer.container_responses.add()
            given.envs.add(key="NVIDIA_VISIBLE_DEVICES", value=",".join(container.devices_ids))
        return bytes(answer.SerializeToString())

    def handler(self) -> grpc.GenericRpcHandler:
        unary = grpc.unary_unary_rpc_method_handler
        methods = {
            "GetDevicePluginOptions": unary(self.options),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self.devices),
            "Allocate": unary(self.allocate),
        }
        return grpc.method_handlers_generic_handler(f"{VERSION}.DevicePlugin", methods)


async def serve_once(folder: Path, plugin: Plugin) -> None:
    """Serves and registers; returns when the kubelet has started anew, for it forgets its plugins then."""
    kubelet, own = folder / "kubelet.sock", folder / ENDPOINT
    await _until(kubelet.exists)
    seen = kubelet.stat().st_ino
    own.unlink(missing_ok=True)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((plugin.handler(),))
    server.add_insecure_port(f"unix:{own}")
    await server.start()
    try:
        await _register(kubelet)
        await _until(lambda: not own.exists() or _inode(kubelet) != seen)
    finally:
        await server.stop(0)


async def _until(check: Callable[[], bool]) -> None:
    while True:
        if check():
            return
        await asyncio.sleep(_LOOK_S)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


async def _register(kubelet: Path) -> None:
    request: Any = MESSAGES["RegisterRequest"](version=VERSION, endpoint=ENDPOINT, resource_name=RESOURCE)
    async with grpc.aio.insecure_channel(f"unix:{kubelet}") as channel:
        call = channel.unary_unary(f"/{VERSION}.Registration/Register")
        await call(request.SerializeToString(), timeout=_CALL_S)


async def serve(folder: Path, uuids: Sequence[str]) -> None:
    """Until cancelled. What the kubelet refuses is tried again."""
    plugin = Plugin(uuids)
    while True:
        try:
            await serve_once(folder, plugin)
        except grpc.aio.AioRpcError as error:
            print(f"kubelet: {error.code().name} {error.details()}", file=sys.stderr, flush=True)
            await asyncio.sleep(_LOOK_S)


if __name__ == "__main__":
    asyncio.run(serve(FOLDER, sys.argv[1:]))
