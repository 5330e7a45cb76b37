"""A front that hands every answer on late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


@asynccontextmanager
async def slow_front(url: str, delay_s: float) -> AsyncIterator[str]:
    """URL of a forwarder to `url` whose answers come `delay_s` after they could."""
    target = urlsplit(url)
    host, port = target.hostname, target.port
    assert host is not None
    assert port is not None
    running: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running[task] = [writer]
        try:
            answers, calls = await asyncio.open_connection(host, port)
            running[task].append(calls)
            await asyncio.gather(_copy(reader, calls, 0.0), _copy(answers, writer, delay_s))
        except OSError:
            writer.close()
        finally:
            del running[task]

    server = await asyncio.start_server(accept, host, 0)
    try:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in [one for both in running.values() for one in both]:
            writer.close()
        await asyncio.gather(*running, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_s: float) -> None:
    while data := await source.read(CHUNK_BYTES):
        await asyncio.sleep(delay_s)
        sink.write(data)
        await sink.drain()
    sink.close()
