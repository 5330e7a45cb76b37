"""A gateway that is to end asks clients to leave the connections that they keep: real Envoy, told by our command."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from ingle_router.leave import leave

from .conftest import MakeRig, Rig, eventually
from .engine import Engine

COMMAND = (sys.executable, "-m", "ingle_router.main", "leave")


HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, GOAWAY = 1, 4, 7
END_OF_BOTH = 0x1 | 0x4  # of the stream and of its headers
GET_ROOT = b"\x82\x86\x84\x41\x01a"  # GET, http, / by HPACK's static table; then the authority "a"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


async def next_type(reader: asyncio.StreamReader) -> int:
    head = await reader.readexactly(9)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3]


@dataclass(frozen=True)
class Served:
    """One pool with one engine awake, and a client that has one connection."""

    rig: Rig
    engine: Engine


@pytest.fixture
def socket_path() -> Iterator[str]:
    """Not in pytest's folder, whose name may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="ingle-") as folder:
        yield f"{folder}/envoy.sock"


@pytest.fixture
async def served(make_rig: MakeRig, socket_path: str) -> AsyncIterator[Served]:
    rig = await make_rig(envoy_admin=socket_path)
    rig.pool("llama")
    rig.policy("all", ["org/llama"], [{"name": "all", "allow": "true"}])
    engine = await rig.engine("llama")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as rig.http:
        yield Served(rig, engine)


async def tell(socket_path: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, env=os.environ | {"INGLE_LISTEN": "127.0.0.1", "INGLE_ENVOY_ADMIN": socket_path}
    )
    return await process.wait()


async def test_a_kept_connection_ends_with_its_next_answer_and_requests_go_on(
    served: Served, socket_path: str
) -> None:
    for _ in range(2):
        _, _, headers = await served.rig.answer("org/llama")
        assert "connection" not in headers
    assert await tell(socket_path) == 0
    for _ in range(2):
        status, _, headers = await served.rig.answer("org/llama")
        assert (status, headers["connection"]) == (200, "close")


async def test_an_http2_client_gets_goaway_with_its_next_answer(served: Served, socket_path: str) -> None:
    settings = served.rig.settings
    reader, writer = await asyncio.open_connection(settings.listen, settings.port_gateway)
    leave(socket_path)
    writer.write(HTTP2_PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_OF_BOTH, 1, GET_ROOT))
    async with asyncio.timeout(10):
        while (await next_type(reader)) != GOAWAY:
            pass
    writer.close()


async def test_a_stream_that_is_on_its_way_goes_on_to_its_end(served: Served, socket_path: str) -> None:
    """What comes after it on the same connection is told to leave; telling twice is telling once."""
    served.engine.answer.clear()
    async with served.rig.ask("org/llama", stream=True) as response:
        assert await response.content.readuntil(b"\n\n") == b'data: {"n": 0}\n\n'
        leave(socket_path)
        leave(socket_path)
        served.engine.answer.set()
        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
        assert "connection" not in response.headers
    _, _, headers = await served.rig.answer("org/llama")
    assert headers["connection"] == "close"


async def test_the_admin_interface_is_a_socket_of_its_owner_alone(served: Served, socket_path: str) -> None:
    await eventually(Path(socket_path).is_socket)
    assert os.stat(socket_path).st_mode & 0o777 == 0o600
    async with served.rig.http.post(served.rig.url + "/healthcheck/fail") as response:
        assert response.status == 404


def test_an_envoy_that_is_not_there_is_told_as_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        leave(str(tmp_path / "no.sock"))
