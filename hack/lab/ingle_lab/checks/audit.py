"""What our own accounts wrote, from the API server's audit log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ingle_kit.names import LEASE, SYSTEM_NAMESPACE

_OURS = f"system:serviceaccount:{SYSTEM_NAMESPACE}:"
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_REVIEWS = frozenset(("tokenreviews", "subjectaccessreviews"))
_HEARTBEAT = ("ingle-agent", "gpunodes", "status")


class Write(NamedTuple):
    """One write: who (account name), what was done to what, and the answer's status code."""

    account: str
    verb: str
    resource: str
    subresource: str
    name: str
    code: int


def writes_by_us(log: Path, from_byte: int = 0) -> list[Write]:
    """Writes of our accounts after `from_byte`, except Leases, the agents' heartbeat, and reviews, which store nothing."""
    return [
        write
        for write in _writes(log, from_byte)
        if write.resource != LEASE.plural
        and write.resource not in _REVIEWS
        and (write.account, write.resource, write.subresource) != _HEARTBEAT
    ]


def _writes(log: Path, from_byte: int) -> Iterator[Write]:
    with log.open("rb") as file:
        file.seek(from_byte)
        for line in file:
            event: dict[str, Any] = msgspec.json.decode(line)
            user = event["user"]["username"]
            if not user.startswith(_OURS) or event["verb"] not in _WRITES:
                continue
            target = event.get("objectRef") or {}
            yield Write(
                user.removeprefix(_OURS),
                event["verb"],
                target.get("resource", ""),
                target.get("subresource", ""),
                target.get("name", ""),
                (event.get("responseStatus") or {}).get("code", 0),
            )
