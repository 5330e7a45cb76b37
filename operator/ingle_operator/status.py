"""Status and events: written by server-side apply under one name, and only when something differs."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from ingle_kit.kube import KubeError, NotFound
from ingle_kit.names import EVENT, Kind
from ingle_kit.objects import Condition, timestamp, with_condition
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import Custom
from ingle_operator.world import World

MANAGER = "ingle-operator"
EVENT_EVERY_S = 300.0

_told: dict[tuple[str, str, str], float] = {}


def reason_of(word: str) -> Reason:
    """The documented reason of that name; what is none is a fault of the spec that the message explains."""
    return Reason(word) if word in Reason.__members__.values() else Reason.INVALID_SPEC


def conditions_of(
    custom: Custom[Any], now_s: float, **wanted: tuple[bool | None, Reason, str]
) -> list[dict[str, Any]]:
    """The object's conditions with the named ones set (`accepted=(True, reason, message)`), for its status."""
    conditions = [Condition.model_validate(c) for c in custom.status.get("conditions") or ()]
    for name, (value, reason, message) in wanted.items():
        new = Condition(
            type=name.capitalize(),
            status="Unknown" if value is None else "True" if value else "False",
            reason=reason.value,
            message=message[:1024],
            observed_generation=custom.generation,
            last_transition_time=timestamp(now_s),
        )
        conditions = with_condition(conditions, new)
    return [c.model_dump(by_alias=True, exclude_none=True) for c in conditions]


async def write_status(world: World, kind: Kind, custom: Custom[Any], status: dict[str, Any]) -> None:
    """Applies `status` when it differs from what the server has; an object that is gone needs none."""
    if _same(custom.status, status):
        return
    world.leader.check(world.settings.lease_renew_s)
    namespace, name = custom.key
    metadata = {"name": name, "uid": custom.uid} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
    try:
        await world.kube.apply(kind, body, manager=MANAGER, subresource="status", force=True)
    except NotFound:
        return


def _same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return {k: v for k, v in old.items() if v not in (None, [], {})} == {
        k: v for k, v in new.items() if v not in (None, [], {})
    }


async def tell(
    world: World, kind: Kind, custom: Custom[Any], reason: Reason, message: str, warn: bool = False
) -> None:
    """One event on the object; the same reason and message at most once in five minutes. Never fails the caller."""
    key = (custom.uid, reason.value, message)
    now_s = time.monotonic()
    if now_s - _told.get(key, float("-inf")) < EVENT_EVERY_S:
        return
    if len(_told) > 4096:
        _told.clear()
    _told[key] = now_s
    namespace, name = custom.key
    stamp = timestamp(time.time())
    digest = hashlib.sha256(f"{key}{time.time()}".encode()).hexdigest()[:12]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name[:200]}.{digest}", "namespace": namespace or "default"},
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": name,
            "namespace": namespace,
            "uid": custom.uid,
        },
        "reason": reason.value,
        "message": message[:1000],
        "type": "Warning" if warn else "Normal",
        "source": {"component": MANAGER},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    try:
        await world.kube.create(EVENT, event)
    except KubeError:
        _told.pop(key, None)
