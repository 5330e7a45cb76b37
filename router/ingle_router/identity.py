"""Who is calling: the API server's word on the bearer token, remembered for seconds."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from ingle_core.routing import Caller
from ingle_kit import names
from ingle_kit.kube import KubeError
from ingle_router.metrics import Metrics
from ingle_router.settings import Settings

TOKEN_CHARACTERS_MAX = 16 * 1024


class Unverified(Exception):
    """The API server could not be asked; the caller may be right all the same."""


class Reviewer(Protocol):
    """What is needed of the Kubernetes API."""

    async def create(self, kind: names.Kind, obj: dict[str, Any]) -> dict[str, Any]: ...


class Identity:
    """Asks once per token however many requests carry it; remembers by digest, never the token."""

    def __init__(
        self, kube: Reviewer, settings: Settings, clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._kube, self._settings, self._clock, self._metrics = kube, settings, clock, metrics
        self._known: OrderedDict[bytes, tuple[float, Caller | None]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def caller(self, authorization: str) -> Caller | None:
        """None where there is no token or it is not good. Raises Unverified where nobody could say."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_CHARACTERS_MAX:
            return None
        digest = hashlib.sha256(token.encode("latin-1", "replace")).digest()
        until_s, known = self._known.get(digest, (0.0, None))
        if self._clock() < until_s:
            self._metrics.token_reviews.labels("hit").inc()
            return known
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= self._settings.token_reviews_max:
                raise Unverified("too many token reviews at once")
            task = asyncio.create_task(self._ask(digest, token))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        return await asyncio.shield(task)

    def _asked(self, digest: bytes, done: asyncio.Task[Caller | None]) -> None:
        self._asking.pop(digest, None)
        if not done.cancelled():
            done.exception()  # every asker may have left: then nobody else looks at it

    async def _ask(self, digest: bytes, token: str) -> Caller | None:
        review = {
            "apiVersion": names.TOKEN_REVIEW.api_version,
            "kind": names.TOKEN_REVIEW.kind,
            "spec": {"token": token, "audiences": [self._settings.audience]},
        }
        try:
            answer = await self._kube.create(names.TOKEN_REVIEW, review)
        except KubeError as error:
            self._metrics.token_reviews.labels("error").inc()
            raise Unverified(f"token review failed: {error.status} {error.reason}") from None
        caller = _caller_of(answer.get("status") or {}, self._settings.audience)
        self._metrics.token_reviews.labels("refused" if caller is None else "authenticated").inc()
        self._remember(digest, caller)
        return caller

    def _remember(self, digest: bytes, caller: Caller | None) -> None:
        settings = self._settings
        for_s = settings.token_unknown_s if caller is None else settings.token_known_s
        self._known[digest] = (self._clock() + for_s, caller)
        self._known.move_to_end(digest)
        while len(self._known) > settings.token_cache_max:
            self._known.popitem(last=False)


def _caller_of(status: dict[str, Any], audience: str) -> Caller | None:
    """A review without our audience comes from an authenticator that does not know audiences: not good enough."""
    if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    return Caller(user.get("username", ""), tuple(user.get("groups") or ()))
