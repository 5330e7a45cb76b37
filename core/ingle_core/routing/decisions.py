"""The three answers to a request, each with its reasons."""

from __future__ import annotations

from dataclasses import dataclass

from ingle_core.routing.facts import Endpoint


@dataclass(frozen=True, slots=True)
class Serve:
    """Send it to `endpoint` of `pool`; write `rewrite_model` into the body where it is not None."""

    pool: str
    endpoint: Endpoint
    rewrite_model: str | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """Let it wait for `pool`, for at most `limit_s` seconds from now.

    `displaces`: the room is full, and the newest place of this tenant in it makes way.
    """

    pool: str
    limit_s: float
    reasons: tuple[str, ...] = ()
    displaces: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer `status` with an error. `retry_after_s` is set exactly for 429 and 503."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None
    reasons: tuple[str, ...] = ()
    pool: str = ""


Decision = Serve | Hold | Refuse
