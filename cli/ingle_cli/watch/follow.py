"""Keeps up with objects of one kind, and says when the API server is lost and when it answers again."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from ingle_cli.access import CallersKube
from ingle_cli.objects import Object
from ingle_kit.kube import Forbidden, Gone, KubeError, NotFound
from ingle_kit.names import Kind

BACKOFF_MIN_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0


class Listener(Protocol):
    """Who is told. `heard` gets an object with what happened to it; a list begins with `listed`."""

    def listed(self, items: list[Object]) -> None: ...

    def heard(self, what: str, obj: Object) -> None: ...

    def lost(self, error: KubeError) -> None: ...


async def follow(kube: CallersKube, kind: Kind, namespace: str, selector: str, listener: Listener) -> None:
    """Runs until cancelled. Raises Forbidden and NotFound (of the kind itself): trying again would not help."""
    version, pause_s = "", BACKOFF_MIN_S
    while True:
        try:
            if not version:
                items, version = await kube.list(kind, namespace, field_selector=selector)
                listener.listed(items)
                pause_s = BACKOFF_MIN_S
            async for what, obj in kube.watch(
                kind, namespace, resource_version=version, field_selector=selector
            ):
                version = obj["metadata"]["resourceVersion"]
                if what != "BOOKMARK":
                    listener.heard(what, obj)
            pause_s = BACKOFF_MIN_S  # the server ended it in peace
        except Gone:
            version = ""
        except (Forbidden, NotFound):
            raise
        except KubeError as error:
            listener.lost(error)
            version = ""  # the next list tells what was missed, and that the server is back
        await asyncio.sleep(pause_s)
        pause_s = min(BACKOFF_MAX_S, pause_s * 2)
