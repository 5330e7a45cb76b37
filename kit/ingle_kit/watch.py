"""The reflector: a cache of one kind of object that also notices what it missed.

It lists in chunks, watches with bookmarks, and lists again whenever the watch cannot go on; what the new list
lacks is reported as deleted (kopf's own index never does that after a gap).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ingle_kit.kube import Gone, Kube, KubeError, Object
from ingle_kit.names import Kind

Key = tuple[str, str]
T = TypeVar("T")

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0

log = logging.getLogger(__name__)


def key_of(obj: Object) -> Key:
    """(namespace or "", name)."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Reflector(Generic[T]):
    """Keeps `store` equal to the server's objects of one kind.

    `on_change(key, old, new)` is called in order for every difference, with new None for a deletion. An object
    that `decode` refuses is left out and reported, so that one broken object never hides the others.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        *,
        decode: Callable[[Object], T],
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        on_change: Callable[[Key, T | None, T | None], None] | None = None,
    ) -> None:
        self._kube, self._kind, self._decode = kube, kind, decode
        self._namespace = namespace
        self._selectors: dict[str, Any] = {"label_selector": label_selector, "field_selector": field_selector}
        self._on_change = on_change
        self._heard_s = time.monotonic()
        self.store: dict[Key, T] = {}
        self.synced = asyncio.Event()

    @property
    def plural(self) -> str:
        return self._kind.plural

    def age_s(self) -> float:
        """Seconds since the server was last heard: an event, a bookmark or a list."""
        return time.monotonic() - self._heard_s

    async def run(self) -> None:
        """Runs until cancelled; every fault is answered by a bounded pause and a new start."""
        backoff_s = BACKOFF_MIN_S
        version = ""
        while True:
            started_s = time.monotonic()
            try:
                if not version:
                    version = await self._list()
                async for kind, obj in self._kube.watch(
                    self._kind, self._namespace, resource_version=version, **self._selectors
                ):
                    self._heard_s = time.monotonic()
                    version = obj["metadata"]["resourceVersion"]
                    self._take(kind, obj)
            except Gone:
                version = ""
            except KubeError as error:
                log.warning("watch of %s: %s; again in %.1f s", self._kind.plural, error, backoff_s)
                if error.status:
                    version = ""
            if time.monotonic() - started_s > BACKOFF_MAX_S:
                backoff_s = BACKOFF_MIN_S
                continue
            await asyncio.sleep(backoff_s)
            backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)

    async def _list(self) -> str:
        items, version = await self._kube.list(self._kind, self._namespace, **self._selectors)
        self._heard_s = time.monotonic()
        present = set()
        for obj in items:
            present.add(key_of(obj))
            self._put(obj)
        for key in [key for key in self.store if key not in present]:
            self._drop(key)
        self.synced.set()
        return version

    def _take(self, kind: str, obj: Object) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self._put(obj)
        elif kind == "DELETED":
            self._drop(key_of(obj))

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        try:
            new = self._decode(obj)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("%s %s/%s cannot be read: %s", self._kind.kind, *key, error)
            self._drop(key)
            return
        old = self.store.get(key)
        self.store[key] = new
        if self._on_change is not None:
            self._on_change(key, old, new)

    def _drop(self, key: Key) -> None:
        old = self.store.pop(key, None)
        if old is not None and self._on_change is not None:
            self._on_change(key, old, None)
