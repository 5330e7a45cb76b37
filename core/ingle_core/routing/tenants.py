"""Fair shares of the waiting room: who asks, who gives way when it is full, whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from ingle_core.routing.facts import Caller

_SERVICE_ACCOUNT = "system:serviceaccount:"


def tenant_of(caller: Caller) -> str:
    """Who shares places with whom: all service accounts of a namespace, else each user alone."""
    if caller.name.startswith(_SERVICE_ACCOUNT):
        return f"namespace {caller.name.removeprefix(_SERVICE_ACCOUNT).partition(':')[0]}"
    return f"user {caller.name}"


def gives_way(shares: Mapping[str, int], tenant: str, size: int = 1) -> str | None:
    """The tenant that holds most, where it holds more than `tenant` would with `size` more; else None.

    So a newcomer never displaces an equal, and two tenants cannot displace each other in turn.
    """
    most = max(shares, key=lambda name: (shares[name], name), default=None)
    return most if most is not None and shares[most] > shares.get(tenant, 0) + size else None


def displaced(
    tenant: str,
    size: int,
    over: int,
    shares: Mapping[str, int],
    newest: Callable[[str], Iterable[int]],
) -> list[str] | None:
    """Which tenants give up their newest place, one entry a place, so that `over` is freed; None where fairness
    does not give that much.

    `shares`: what each holds, `newest`: the sizes of the places that it can give up, newest first; all in one unit.
    """
    left, chosen = dict(shares), []
    places: dict[str, Iterator[int]] = {}
    while over > 0:
        most = gives_way(left, tenant, size)
        if most is None:
            return None
        if most not in places:
            places[most] = iter(newest(most))
        freed = next(places[most], None)
        if freed is None:
            del left[most]
            continue
        left[most] -= freed
        over -= freed
        chosen.append(most)
    return chosen


class Line:
    """Who waits, by tenant: tenants take turns, within a tenant the first come is the first served.

    Each key stands in it once. All calls take the time of one look-up, whatever the length.
    """

    def __init__(self) -> None:
        self._again: dict[str, dict[str, None]] = {}
        self._tenants: dict[str, dict[str, None]] = {}
        self._of: dict[str, str] = {}
        self._shares: dict[str, int] = {}
        self.shares: Mapping[str, int] = MappingProxyType(self._shares)
        """How many wait, by tenant; it changes with the line."""

    def join(self, key: str, tenant: str, *, again: bool = False) -> None:
        """At the end of its tenant's part, or before all who have not had a turn yet where it had one (`again`)."""
        if key in self._of:
            return
        self._of[key] = tenant
        self._shares[tenant] = self._shares.get(tenant, 0) + 1
        self._tenants.setdefault(tenant, {})
        part = self._again.setdefault(tenant, {}) if again else self._tenants[tenant]
        part[key] = None

    def leave(self, key: str) -> None:
        """It waits here no more; nothing where it did not."""
        tenant = self._of.pop(key, None)
        if tenant is None:
            return
        first, rest = self._again.get(tenant, {}), self._tenants[tenant]
        first.pop(key, None)
        rest.pop(key, None)
        self._shares[tenant] -= 1
        if not first:
            self._again.pop(tenant, None)
        if not self._shares[tenant]:
            del self._tenants[tenant], self._shares[tenant]

    def turn(self) -> str | None:
        """Takes out the next one; its tenant goes to the end of the turns. None where nobody waits."""
        if not self._tenants:
            return None
        tenant = next(iter(self._tenants))
        key = next(iter(self._again.get(tenant) or self._tenants[tenant]))
        self._tenants[tenant] = self._tenants.pop(tenant)
        self.leave(key)
        return key

    def newest(self, tenant: str) -> Iterator[str]:
        """A tenant's keys, the last come first; those that had a turn already last of all."""
        yield from reversed(self._tenants.get(tenant, {}))
        yield from reversed(self._again.get(tenant, {}))

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, key: object) -> bool:
        return key in self._of
