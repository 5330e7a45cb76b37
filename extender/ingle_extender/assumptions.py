"""Choices that no ledger shows yet, in memory by pod UID: the last filter call wins, and they expire."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from ingle_core.placement import Ask, Assumed


@dataclass(frozen=True, slots=True)
class Pending:
    """A choice and what it was made for. `pool` is namespace/name."""

    assumed: Assumed
    ask: Ask
    pool: str


class Assumptions:
    """At most `limit` choices, each for `ttl_s` seconds; oldest first in memory."""

    def __init__(self, *, ttl_s: float, limit: int) -> None:
        self._ttl_s, self._limit = ttl_s, limit
        self._held: OrderedDict[str, tuple[float, Pending]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, pending: Pending, now_s: float) -> None:
        """Replaces an earlier choice for the same pod."""
        self._held.pop(pending.assumed.pod_uid, None)
        self._held[pending.assumed.pod_uid] = (now_s + self._ttl_s, pending)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)

    def get(self, pod_uid: str, now_s: float) -> Pending | None:
        self._expire(now_s)
        found = self._held.get(pod_uid)
        return found[1] if found else None

    def drop(self, pod_uids: Collection[str]) -> None:
        """Forgets the choices for these pods; unknown UIDs are fine."""
        for pod_uid in self._held.keys() & set(pod_uids):
            del self._held[pod_uid]

    def others(self, pod_uid: str, now_s: float) -> list[Assumed]:
        """All choices but the one for `pod_uid`."""
        self._expire(now_s)
        return [pending.assumed for uid, (_, pending) in self._held.items() if uid != pod_uid]

    def _expire(self, now_s: float) -> None:
        while self._held and next(iter(self._held.values()))[0] <= now_s:
            self._held.popitem(last=False)
