"""The switch of the nodes: HTTP on a unix socket in the lab's folder.

`GET /lab/nodes` tells of all; `POST /lab/nodes/NAME` with `{"down": true}` makes a node silent towards the API,
with `{"down": true, "kill": true}` its processes die too; `{"down": false}` brings it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from ingle_lab.node.addresses import SOCKET_PATH_BYTES_MAX
from ingle_lab.node.node import LabNode


class Switch(msgspec.Struct, forbid_unknown_fields=True):
    """Body of the POST."""

    down: bool
    kill: bool = False


class Control:
    """Serves the switch of some nodes. Raises OSError when the socket cannot be made."""

    def __init__(self, nodes: Mapping[str, LabNode], socket: Path) -> None:
        self._nodes, self._socket = nodes, socket
        app = web.Application()
        app.router.add_get("/lab/nodes", self._list)
        app.router.add_post("/lab/nodes/{name}", self._switch)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        if len(str(self._socket).encode()) > SOCKET_PATH_BYTES_MAX:
            raise OSError(f"{self._socket} is too long for a socket: set control_socket to a shorter path")
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._socket.unlink(missing_ok=True)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([_told(node) for node in self._nodes.values()])

    async def _switch(self, request: web.Request) -> web.Response:
        node = self._nodes.get(request.match_info["name"])
        if node is None:
            return web.Response(status=404, text=f"no such node; there are {', '.join(self._nodes)}\n")
        try:
            switch = msgspec.json.decode(await request.read(), type=Switch)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f'{error}; send {{"down": true}} or {{"down": false}}\n')
        if switch.down:
            node.set_down(kill=switch.kill)
        else:
            node.set_up()
        return web.json_response(_told(node))


def _told(node: LabNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "registered": node.registered.is_set(),
        "down": node.down,
        "pods": node.pods,
    }


async def call_switch(socket: Path, node: str, *, down: bool, kill: bool = False) -> dict[str, Any]:
    """Client of the switch. Raises aiohttp.ClientError, also for a refusal."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        url, body = f"http://lab/lab/nodes/{node}", {"down": down, "kill": kill}
        async with session.post(url, json=body, raise_for_status=True) as answer:
            told: dict[str, Any] = await answer.json()
            return told
