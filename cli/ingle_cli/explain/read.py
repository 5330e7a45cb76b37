"""Readings that the explanations share."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from rich.text import Text

from ingle_cli.access import CallersKube
from ingle_cli.failures import EXIT_UNKNOWN, Failure
from ingle_cli.objects import Object, seconds_since
from ingle_cli.text import Shown, age, table, title
from ingle_kit.kube import KubeError, NotFound
from ingle_kit.names import EVENT, Kind

T = TypeVar("T")
EVENTS_MAX = 8


async def read_one(kube: CallersKube, kind: Kind, name: str, namespace: str | None = None) -> Object:
    """The object; Failure with exit code 1 where there is none."""
    try:
        return await kube.get(kind, name, namespace)
    except NotFound as error:
        if not error.message or "requested resource" in error.message or error.reason != "NotFound":
            raise
        where = f" in namespace {namespace}; -n names another" if namespace else ""
        raise Failure(f"There is no {kind.kind} {name}{where}.", EXIT_UNKNOWN) from error


async def if_allowed(reading: Awaitable[T], errors: list[KubeError]) -> T | None:
    """What was read, or None with the error noted: an explanation does without it."""
    try:
        return await reading
    except KubeError as error:
        errors.append(error)
        return None


async def events_of(kube: CallersKube, obj: Object, kind: Kind) -> list[Object]:
    """The latest events about an object, newest first."""
    metadata = obj["metadata"]
    selector = f"involvedObject.kind={kind.kind},involvedObject.name={metadata['name']}"
    found, _ = await kube.list(EVENT, metadata.get("namespace") or "default", field_selector=selector)
    about = [e for e in found if e["involvedObject"].get("uid") in (None, "", metadata["uid"])]
    return sorted(about, key=event_time, reverse=True)[:EVENTS_MAX]


def event_time(event: Object) -> str:
    """RFC 3339; whichever of its times is set."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(at) for at in times if at), str(event["metadata"].get("creationTimestamp", "")))


def events_table(events: list[Object] | None, now_s: float) -> Shown:
    """A heading and one row an event; nothing when there are none."""
    if not events:
        return []
    rows = [
        (age(seconds_since(event_time(e), now_s)), e.get("type"), e.get("reason"), e.get("message"))
        for e in events
    ]
    shown = table(("AGO", "TYPE", "REASON", "MESSAGE"), rows, fold="MESSAGE")
    return [Text(""), title("EVENTS, newest first"), shown]


def conditions_table(obj: Object, now_s: float) -> Shown:
    """A heading and one row a condition."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    rows = [
        (
            c["type"],
            c["status"],
            age(seconds_since(c.get("lastTransitionTime"), now_s)),
            c.get("reason"),
            c.get("message"),
        )
        for c in conditions
    ]
    if not rows:
        return [Text(""), Text("No conditions yet: the operator has not seen it.")]
    shown = table(("CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"), rows, fold="MESSAGE")
    return [Text(""), shown]
