"""The kubelet's pod-resources socket: gRPC, method `List` of version 1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from ingle_kit.podresources import SERVICE, Given, answer_of
from ingle_lab.node.addresses import SOCKET_PATH_BYTES_MAX

PLACE = "var/lib/kubelet/pod-resources/kubelet.sock"


@asynccontextmanager
async def serving(socket: Path, given: Callable[[], list[Given]]) -> AsyncIterator[None]:
    """Answers with what `given` says. Raises OSError for a path that is too long for a socket."""
    if len(str(socket).encode()) > SOCKET_PATH_BYTES_MAX:
        raise OSError(f"{socket} is too long for a socket: set lab_dir to a shorter path")
    _clear(socket)

    async def listed(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        return answer_of(given())

    server = grpc.aio.server()
    methods = {"List": grpc.unary_unary_rpc_method_handler(listed)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
        _clear(socket)


def _clear(socket: Path) -> None:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
