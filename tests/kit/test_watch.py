"""The reflector against a tiny server that speaks list and watch, so that gaps and faults come when a test wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from ingle_kit import watch
from ingle_kit.kube import Kube, Object
from ingle_kit.names import NAMESPACE
from ingle_kit.watch import Reflector

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


def thing(name: str, version: int = 1, **more: Any) -> Object:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, **more}


class Server:
    """`objects` is what a list gives; `send` puts events on the open watch; `fault` is answered instead of either."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 1
        self.lists: list[dict[str, str]] = []
        self.watches: list[float] = []
        self.fault: Callable[[web.Request], web.Response | None] = lambda request: None
        self._events: asyncio.Queue[Object | None] = asyncio.Queue()

    def put(self, *objects: Object) -> None:
        for obj in objects:
            self.objects[obj["metadata"]["name"]] = obj

    def send(self, kind: str, obj: Object) -> None:
        self._events.put_nowait({"type": kind, "object": obj})

    def end_watch(self) -> None:
        self._events.put_nowait(None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        wanted = dict(request.query)
        if "watch" in wanted:
            self.watches.append(time.monotonic())
        else:
            self.lists.append(wanted)
        wrong = self.fault(request)
        if wrong is not None:
            return wrong
        return await self._watch(request) if "watch" in wanted else self._list(wanted)

    def _list(self, wanted: dict[str, str]) -> web.Response:
        found = sorted(self.objects.values(), key=lambda o: str(o["metadata"]["name"]))
        start, size = int(wanted.get("continue", "0")), int(wanted["limit"])
        more = {"continue": str(start + size)} if start + size < len(found) else {}
        body = {
            "items": found[start : start + size],
            "metadata": {"resourceVersion": str(self.version), **more},
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while (event := await self._events.get()) is not None:
            await answer.write(orjson.dumps(event) + b"\n")
        return answer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, Kube]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG.format(url=f"http://{host}:{port}"))
    async with Kube.connect(user_agent="test", kubeconfig=str(config)) as kube:
        yield server, kube
    await runner.cleanup()


class Seen:
    """A running reflector and what it reported."""

    def __init__(self, kube: Kube, decode: Callable[[Object], Any] = dict) -> None:
        self.changes: list[tuple[str, bool, bool]] = []
        self.reflector: Reflector[Any] = Reflector(kube, NAMESPACE, decode=decode, on_change=self._changed)
        self.task = asyncio.ensure_future(self.reflector.run())

    def _changed(self, key: tuple[str, str], old: Any, new: Any) -> None:
        self.changes.append((key[1], old is not None, new is not None))

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110  # the reflector has no event for "changed"
                await asyncio.sleep(0.005)

    async def synced(self) -> None:
        await asyncio.wait_for(self.reflector.synced.wait(), 10)

    async def __aenter__(self) -> Seen:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_it_lists_then_follows_the_watch(server: tuple[Server, Kube]) -> None:
    api, kube = server
    api.put(thing("a"))
    async with Seen(kube) as seen:
        await seen.synced()
        api.send("ADDED", thing("b", 2))
        api.send("MODIFIED", thing("a", 3))
        api.send("DELETED", thing("b", 4))
        await seen.until(lambda: len(seen.changes) == 4)
    assert seen.changes == [("a", False, True), ("b", False, True), ("a", True, True), ("b", True, False)]
    assert set(seen.reflector.store) == {("", "a")}


async def test_a_long_list_is_read_in_chunks(server: tuple[Server, Kube]) -> None:
    api, kube = server
    api.put(*(thing(f"n{n:04}") for n in range(1100)))
    async with Seen(kube) as seen:
        await seen.synced()
        assert len(seen.reflector.store) == 1100
    assert len(api.lists) == 3


async def test_what_was_deleted_in_a_gap_is_reported_after_410(server: tuple[Server, Kube]) -> None:
    api, kube = server
    api.put(thing("a"), thing("b"))
    async with Seen(kube) as seen:
        await seen.synced()
        api.objects = {"b": thing("b"), "c": thing("c", 8)}
        api.version = 9
        api.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
        await seen.until(lambda: ("", "c") in seen.reflector.store)
        assert ("a", True, False) in seen.changes
    assert set(seen.reflector.store) == {("", "b"), ("", "c")}


async def test_a_broken_object_is_left_out_and_comes_back_when_it_is_mended(
    server: tuple[Server, Kube],
) -> None:
    api, kube = server

    def decode(obj: Object) -> int:
        return int(obj["size"])

    api.put(thing("bad", size="junk"), thing("good", size="1"))
    async with Seen(kube, decode) as seen:
        await seen.synced()
        assert seen.reflector.store == {("", "good"): 1}
        api.send("MODIFIED", thing("good", 2, size="junk"))
        await seen.until(lambda: not seen.reflector.store)
        assert seen.changes[-1] == ("good", True, False)
        api.send("MODIFIED", thing("bad", 3, size="5"))
        await seen.until(lambda: seen.reflector.store == {("", "bad"): 5})


async def test_a_watch_that_ends_goes_on_from_the_last_version_without_a_list(
    server: tuple[Server, Kube],
) -> None:
    api, kube = server
    async with Seen(kube) as seen:
        await seen.synced()
        api.send("BOOKMARK", thing("", 7))
        api.end_watch()
        await seen.until(lambda: len(api.watches) == 2)
        api.send("ADDED", thing("late", 8))
        await seen.until(lambda: seen.reflector.store)
    assert len(api.lists) == 1


@pytest.mark.parametrize("status", [410, 500, 429, 403])
async def test_a_server_that_refuses_is_asked_with_growing_but_bounded_pauses(
    server: tuple[Server, Kube], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    api, kube = server
    monkeypatch.setattr(watch, "BACKOFF_MIN_S", 0.02)
    monkeypatch.setattr(watch, "BACKOFF_MAX_S", 0.16)

    def refuse(request: web.Request) -> web.Response | None:
        return web.json_response({"code": status}, status=status) if "watch" in request.query else None

    api.fault = refuse
    async with Seen(kube) as seen:
        await seen.until(lambda: len(api.watches) >= 8)
        gaps = [b - a for a, b in zip(api.watches, api.watches[1:], strict=False)]
        assert gaps[0] < gaps[3]
        assert all(gap >= 0.15 for gap in gaps[3:])
        api.fault = lambda request: None
        api.put(thing("a"))
        api.send("ADDED", thing("a", 2))
        await seen.until(lambda: seen.reflector.store)
        assert seen.reflector.age_s() < 5


async def test_the_age_grows_while_the_server_is_silent(server: tuple[Server, Kube]) -> None:
    api, kube = server
    async with Seen(kube) as seen:
        await seen.synced()
        await seen.until(lambda: seen.reflector.age_s() > 0.1)
        api.send("BOOKMARK", thing("", 7))
        await seen.until(lambda: seen.reflector.age_s() < 0.1)
