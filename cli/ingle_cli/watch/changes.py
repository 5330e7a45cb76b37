"""What changed in a pool, one line a change. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ingle_cli.objects import Object, verdict
from ingle_cli.text import plural

CONDITIONS: Final = ("Accepted", "Ready", "Stalled")
COUNTS: Final = ("awake", "asleep", "starting", "wanted")


def changes(old: Object | None, new: Object) -> Iterator[str]:
    """Lines for what differs; everything where `old` is None."""
    was, now = _status(old), _status(new)
    before, after = _engines(was), _engines(now)
    for name in sorted(before.keys() | after.keys()):
        yield from _engine(name, before.get(name), after.get(name))
    counts = [f"{_count(now, name)} {name}" for name in COUNTS]
    if old is None or any(_count(was, name) != _count(now, name) for name in COUNTS):
        yield ", ".join(counts)
    if was.get("waiting", 0) != now.get("waiting", 0):
        yield f"{plural(now.get('waiting', 0), 'request')} waiting"
    for type_ in CONDITIONS:
        seen = verdict(new, type_)
        if old is None or verdict(old, type_) != seen:
            yield f"{type_} {seen.status} {seen.reason}{f': {seen.message}' if seen.message else ''}"
    if old is not None and old["metadata"].get("generation") != new["metadata"].get("generation"):
        yield f"the pool's spec changed (generation {new['metadata'].get('generation')})"


def _status(obj: Object | None) -> dict[str, Any]:
    return {} if obj is None else obj.get("status") or {}


def _engines(status: dict[str, Any]) -> dict[str, Object]:
    return {engine["pod"]: engine for engine in status.get("engines") or ()}


def _count(status: dict[str, Any], name: str) -> int:
    return int((status.get("replicas") or {}).get(name, 0))


def _engine(name: str, was: Object | None, now: Object | None) -> Iterator[str]:
    """A move to another tier or node, and what keeps it from the next."""
    if now is None:
        yield f"engine {name} is gone"
        return
    where = f" on {now['node']}" if now.get("node") else ""
    if was is None:
        yield f"engine {name}{where}: {now['state']}{_why(now)}"
    elif was["state"] != now["state"]:
        yield f"engine {name}{where}: {was['state']} -> {now['state']}{_took(now, was)}{_why(now)}"
    elif (was.get("node"), _why(was)) != (now.get("node"), _why(now)):
        yield f"engine {name}{where}: {now['state']}{_why(now)}"


def _took(now: Object, was: Object) -> str:
    ms = now.get("wakeMilliseconds")
    return f" (woke in {ms} ms)" if ms and now["state"] == "Awake" and was["state"] == "Waking" else ""


def _why(engine: Object) -> str:
    if not engine.get("reason"):
        return ""
    message = f": {engine['message']}" if engine.get("message") else ""
    return f", {engine['reason']}{message}"


def event_line(event: Object) -> str:
    """A decision that the operator told of, with its reason."""
    warning = "warning " if event.get("type") == "Warning" else ""
    return f"{warning}{event.get('reason', '?')}: {event.get('message', '')}"
