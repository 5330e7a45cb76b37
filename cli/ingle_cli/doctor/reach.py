"""Whether a port of one of our pods answers: through the API server, and straight from here."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from ingle_cli.access import CallersKube
from ingle_cli.doctor.facts import Object, Unread
from ingle_kit.kube import Forbidden, KubeError
from ingle_kit.names import POD, SYSTEM_NAMESPACE

PROXY_TIMEOUT_S: Final = 3.0
DIRECT_TIMEOUT_S: Final = 1.0
PATH: Final = "/healthz"


async def reached(kube: CallersKube, pod: Object, port: int) -> bool | Unread:
    """True: it said that it is well. False: it said that it is not. Unread: nobody could ask it."""
    name, address = pod["metadata"]["name"], (pod.get("status") or {}).get("podIP", "")
    proxied, direct = await asyncio.gather(_proxied(kube, name, port), _direct(address, port))
    if proxied is True or direct is True:
        return True
    if proxied is False or direct is False:
        return False
    return Unread(
        f"{name} cannot be asked from here: {proxied}. Its NetworkPolicy may keep the API server out "
        "(networkPolicy.apiServers of the chart)"
    )


async def _proxied(kube: CallersKube, name: str, port: int) -> bool | str:
    place = f"{POD.path(SYSTEM_NAMESPACE, name)}:{port}/proxy{PATH}"
    try:
        await kube.request("GET", place, timeout_s=PROXY_TIMEOUT_S)
    except Forbidden:
        return "you may not get pods/proxy"
    except KubeError as error:
        # 503 with a reason is the API server's own word that it got no connection.
        return False if error.status == 503 and not error.reason else "the API server gets no connection"
    return True


async def _direct(address: str, port: int) -> bool | None:
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    limit = aiohttp.ClientTimeout(total=DIRECT_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"http://{host}:{port}{PATH}") as answer,
        ):
            # Anybody may sit at that address outside of the cluster's network: only a good word counts.
            return True if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
