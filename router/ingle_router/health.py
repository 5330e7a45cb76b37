"""gRPC health: `liveness`, `readiness` and the picker's own service, by the endpoint-picker protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import grpc

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
PICKER_SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"

# grpc.health.v1: HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1; 1 serving, 2 not, 3 unknown}.
# Two messages of one field each do not need generated code.
_SERVING: Final = b"\x08\x01"
_NOT_SERVING: Final = b"\x08\x02"
_UNKNOWN: Final = b"\x08\x03"
_WATCH_S: Final = 1.0


def health_handler(ready: Callable[[], bool]) -> grpc.GenericRpcHandler:
    """The service `grpc.health.v1.Health`. The empty service name stands for readiness."""

    def state(request: bytes) -> bytes | None:
        service = _service(request)
        if service == LIVENESS:
            return _SERVING
        if service in ("", READINESS, PICKER_SERVICE):
            return _SERVING if ready() else _NOT_SERVING
        return None

    async def check(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        answer = state(request)
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answer or _UNKNOWN

    async def watch(request: bytes, _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        told = None
        while True:
            now = state(request) or _UNKNOWN
            if now != told:
                told = now
                yield now
            await asyncio.sleep(_WATCH_S)

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {
            "Check": grpc.unary_unary_rpc_method_handler(check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        },
    )


def _service(request: bytes) -> str:
    """The first field of a HealthCheckRequest; names are shorter than 128 bytes."""
    if len(request) < 2 or request[0] != 0x0A or request[1] != len(request) - 2:
        return "" if not request else "?"
    return request[2:].decode("utf-8", "replace")
