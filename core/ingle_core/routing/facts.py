"""What a routing decision knows: callers, requests, pools, policies, engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user, as the API server named it."""

    name: str
    groups: tuple[str, ...] = ()


class Question(NamedTuple):
    """What a permission is asked. `model` is the pool's own model name, whatever alias the client sent."""

    user: Caller
    model: str
    path: str


Rule = Callable[[Question], object]
"""Answers True or False. Anything else, and any exception, counts as an error, and an error denies."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One named rule of a policy. A missing side says nothing."""

    name: str
    allow: Rule | None = None
    deny: Rule | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may use the models that it names. `fallbacks` are pools in the same namespace, by name, best first.

    `sooner`: they answer also where they can do so sooner, not only where the pool asked for cannot.
    `refused` is the reason why the policy is not accepted; it then denies what it can and allows nothing.
    """

    namespace: str
    name: str
    models: tuple[str, ...]
    permissions: tuple[Permission, ...] = ()
    fallbacks: tuple[str, ...] = ()
    sooner: bool = False
    created: str = ""
    refused: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class Warmth(NamedTuple):
    """One engine as the pool's status tells it: `state` since `since_s`; what its last wake and its start took,
    in seconds, None where that is not known."""

    state: str
    since_s: float = 0.0
    wake_s: float | None = None
    start_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """A model and the limits of its waiting room. `created` is the object's RFC 3339 time stamp.

    `obstacle` is empty where the pool can serve, else the reason why it cannot; `lasting` says that
    waiting does not help. `hold_s` in seconds, `waiting_max` in requests.
    """

    namespace: str
    name: str
    model: str
    aliases: tuple[str, ...] = ()
    created: str = ""
    hold_s: float = 60.0
    heartbeat_s: float = 10.0
    waiting_max: int = 500
    obstacle: str = ""
    lasting: bool = False
    engines: tuple[Warmth, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class Endpoint:
    """One engine. Its owner changes it in place (counts move thousands of times a second); decisions only read.

    `asleep_by_gauge` is the engine's own word, None where it has not been heard since the pod last changed.
    `failing_until_s`: it failed lately and is the last choice until then.
    """

    pod_uid: str
    pool: str
    address: str
    awake: bool = False
    ready: bool = True
    leaving: bool = False
    asleep_by_gauge: bool | None = None
    in_flight: int = 0
    failures: int = 0
    failing_until_s: float = 0.0
    context_tokens: int = 0
    seen_at_s: float = 0.0

    @property
    def pickable(self) -> bool:
        """Whether new requests may be sent to it."""
        return (
            self.awake
            and self.ready
            and not self.leaving
            and self.asleep_by_gauge is not True
            and bool(self.address)
        )


_NOBODY: Mapping[str, int] = MappingProxyType({})


class Load(NamedTuple):
    """The moving part of a pool: its engines, how many requests wait for it, and how many of them by tenant."""

    endpoints: tuple[Endpoint, ...] = ()
    waiting: int = 0
    shares: Mapping[str, int] = _NOBODY


class Wait(NamedTuple):
    """A request that has a place in the waiting room of `pool` until `until_s`."""

    pool: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the decision sees it; never its text.

    `subset`: the only addresses that the gateway allows, None where it allows all.
    `wait`: set when the request already waits.
    """

    caller: Caller | None
    model: str
    path: str
    prompt_tokens: int = 0
    subset: frozenset[str] | None = None
    wait: Wait | None = None
