"""Status and events: written by server-side apply under one name, and only when something differs."""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ingle_core.warmpool.facts import Failures
from ingle_core.warmpool.rollout import BACK_AFTER
from ingle_kit.kube import Conflict, KubeError, NotFound
from ingle_kit.names import EVENT, Kind
from ingle_kit.objects import Condition, timestamp, with_condition
from ingle_kit.objects.reasons import Reason
from ingle_operator.lastgood import is_before
from ingle_operator.parse import Custom, Pool
from ingle_operator.world import World

MANAGER = "ingle-operator"
EVENT_EVERY_S = 300.0
EVENTS_MAX = 8
TOLD_MAX = 4096
FAILED_IN_A_ROW, LAST_FAILURE = " engines failed in a row", "; the last: "

S = TypeVar("S", bound=BaseModel)
Told = dict[tuple[str, str], deque[tuple[float, str]]]

log = logging.getLogger(__name__)


def reason_of(word: str) -> Reason:
    """The documented reason of that name; what is none is a fault of the spec that the message explains."""
    return Reason(word) if word in Reason.__members__.values() else Reason.INVALID_SPEC


def conditions_of(
    custom: Custom[Any], now_s: float, **wanted: tuple[bool | None, Reason, str]
) -> list[dict[str, Any]]:
    """The object's conditions with the named ones set (`accepted=(True, reason, message)`), for its status."""
    conditions = _readable(custom.status.get("conditions"))
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


def _readable(stored: Any) -> list[Condition]:
    """The stored conditions that can be read; others are written anew."""
    found = []
    for item in stored if isinstance(stored, list) else ():
        try:
            found.append(Condition.model_validate(item))
        except ValidationError:
            continue
    return found


def current(world: World, custom: Custom[S]) -> Custom[S]:
    """The object with the status that we wrote last, while the cache has not caught up with it."""
    version, status = world.notes.written.get(custom.uid, (0, {}))
    if version <= int(custom.raw["metadata"]["resourceVersion"]):
        world.notes.written.pop(custom.uid, None)
        return custom
    return replace(custom, status=status)


async def write_status(world: World, kind: Kind, custom: Custom[Any], status: dict[str, Any]) -> bool:
    """Applies `status` when it differs from what the server has; whether it did. An object that is gone needs none."""
    if _same(current(world, custom).status, status):
        return False
    namespace, name = custom.key
    metadata = {"name": name, "uid": custom.uid} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status}
    try:
        obj = await world.kube.apply(kind, body, manager=MANAGER, subresource="status", force=True)
    except (NotFound, Conflict):
        return False
    world.notes.written[custom.uid] = (int(obj["metadata"]["resourceVersion"]), obj.get("status") or {})
    return True


def _same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return {k: v for k, v in old.items() if v not in (None, [], {})} == {
        k: v for k, v in new.items() if v not in (None, [], {})
    }


def count_failure(world: World, pool: Pool, reason: Reason, message: str, revision: str = "") -> None:
    """One more failure in a row of this pool's `revision`: its next start waits longer.

    Those of the revision before are counted apart: they say nothing of the one that is to replace it.
    """
    before = is_before(world, pool, revision)
    counts = world.notes.back_failures if before else world.notes.failures
    old = counts.get(pool.name, Failures())
    count = old.count + 1 if old.revision == revision else 1
    counts[pool.name] = Failures(count, time.time(), revision)
    if not before:
        world.notes.troubles[pool.name] = (reason.value, message)


def recall_failures(world: World, pool: Pool, revision: str) -> None:
    """What an earlier leader said of the pool as it is now, the first time that this one looks at it."""
    if pool.name in world.notes.recalled:
        return
    world.notes.recalled.add(pool.name)
    stalled = recalled(pool)
    if stalled is not None and pool.name not in world.notes.failures:
        world.notes.failures[pool.name] = Failures(BACK_AFTER, time.time(), revision)
        world.notes.troubles[pool.name] = stalled


def recalled(pool: Pool) -> tuple[str, str] | None:
    """Reason and message of a pool whose engines failed too often in a row, by its own status; None: they did not."""
    for one in _readable(pool.status.get("conditions")):
        if one.type == "Stalled" and one.status == "True" and one.observed_generation == pool.generation:
            _, failed, last = one.message.partition(FAILED_IN_A_ROW)
            return (one.reason, last.partition(LAST_FAILURE)[2]) if failed else None
    return None


def forget_failures(world: World, pool: Pool, revision: str) -> None:
    """An engine of that revision has started."""
    if is_before(world, pool, revision):
        world.notes.back_failures.pop(pool.name, None)
        return
    world.notes.failures.pop(pool.name, None)
    world.notes.troubles.pop(pool.name, None)


async def tell(
    world: World, kind: Kind, custom: Custom[Any], reason: Reason, message: str, warn: bool = False
) -> None:
    """One event on the object, never more than the rate allows. Never fails the caller, but for a lost lease."""
    if not _may_tell(world.notes.told, (custom.uid, reason.value), message, time.monotonic()):
        return
    try:
        await world.kube.create(EVENT, _event(kind, custom, reason, message, warn))
    except KubeError as error:
        log.info("an event on %s is lost: %s", custom.name, error)


def _may_tell(told: Told, key: tuple[str, str], message: str, now_s: float) -> bool:
    """The same message once in `EVENT_EVERY_S`, and of one reason on one object at most `EVENTS_MAX` in that time."""
    if key not in told and len(told) >= TOLD_MAX:
        told.pop(next(iter(told)))
    recent = told.setdefault(key, deque(maxlen=EVENTS_MAX))
    while recent and now_s - recent[0][0] >= EVENT_EVERY_S:
        recent.popleft()
    if len(recent) >= EVENTS_MAX or any(text == message for _, text in recent):
        return False
    recent.append((now_s, message))
    return True


def _event(kind: Kind, custom: Custom[Any], reason: Reason, message: str, warn: bool) -> dict[str, Any]:
    namespace, name = custom.key
    stamp = timestamp(time.time())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name[:200]}.{secrets.token_hex(6)}", "namespace": namespace or "default"},
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
