"""What `doctor` reads, and what a check finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

Object = dict[str, Any]
Level = Literal["Bad", "Note", "Unchecked", "Good"]


@dataclass(frozen=True, slots=True)
class Unread:
    """What could not be read, and why in one sentence."""

    why: str


class Right(NamedTuple):
    """One thing that an account may do. `namespace` "" is the whole cluster; `name` "" is any."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {what}{f' in {self.namespace}' if self.namespace else ''}"


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment of a cluster. Objects are as the API server gave them; {} stands for one that is not there.

    `now_s` Unix seconds of our own clock; `version` our own; `kubernetes` the server's, such as v1.37.2. `allowed`: by
    account, None is the caller. `reached`: by name of a pod of ours, whether its port answered.
    """

    now_s: float
    version: str
    kubernetes: str | Unread
    definitions: dict[str, Object | Unread]
    pods: list[Object] | Unread
    engines: list[Object] | Unread
    nodes: list[Object] | Unread
    gpu_nodes: list[Object] | Unread
    leases: dict[str, Object | Unread]
    guards: dict[str, Object | Unread]
    flows: dict[str, Object | Unread]
    allowed: dict[str | None, dict[Right, bool | Unread]] = field(default_factory=dict)
    reached: dict[str, bool | Unread] = field(default_factory=dict)


class Found(NamedTuple):
    """One thing that a check found. `todo` is empty where there is nothing to do."""

    level: Level
    what: str
    todo: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One thing found, with the check that found it; `why` is why it matters. `-o json` prints these."""

    check: str
    level: Level
    what: str
    why: str
    todo: str


def unchecked(*parts: object) -> Iterator[Found]:
    """A finding for each reading that failed, the same once."""
    whys = dict.fromkeys(part.why for part in parts if isinstance(part, Unread))
    yield from (
        Found("Unchecked", why, "Ask for that right, or let someone run it who has it.") for why in whys
    )


def some(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
