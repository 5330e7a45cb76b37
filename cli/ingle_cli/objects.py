"""Small readings of our objects as JSON, lenient where the operator has not written yet."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

from ingle_cli.failures import Failure
from ingle_core.facts import GpuNode
from ingle_kit.objects import timestamp_s

Object = dict[str, Any]
Word = Literal["True", "False", "Unknown"]

NOT_SEEN = "NotSeenYet"
NOT_SEEN_TEXT = "the operator has not seen the last change yet"


class Verdict(NamedTuple):
    """A condition: True, False or Unknown, one word for why, and the same for people."""

    status: Word
    reason: str
    message: str


def verdict(obj: Object, type_: str) -> Verdict:
    """The condition of that type; Unknown where it is missing or was judged for an older generation."""
    status = obj.get("status") or {}
    found = next((c for c in status.get("conditions") or () if c.get("type") == type_), None)
    if found is None:
        return Verdict("Unknown", NOT_SEEN, NOT_SEEN_TEXT)
    generation = obj["metadata"].get("generation", 0)
    judged = max(found.get("observedGeneration", 0), status.get("observedGeneration", 0))
    if 0 < judged < generation and obj.get("kind") != "GPUNode":
        return Verdict("Unknown", NOT_SEEN, NOT_SEEN_TEXT)
    return Verdict(cast(Word, found["status"]), found.get("reason", ""), found.get("message", ""))


def seconds_since(text: str | None, now_s: float) -> float | None:
    """Seconds from an RFC 3339 time to `now_s` (Unix seconds); None where there is none."""
    if not text:
        return None
    try:
        return now_s - timestamp_s(text)
    except ValueError:
        return None


def gpu_node(obj: Object) -> GpuNode:
    """Raises Failure where the object breaks its own schema."""
    try:
        return GpuNode.from_dict(obj)
    except ValueError as error:
        name = obj.get("metadata", {}).get("name", "?")
        raise Failure(
            f"GPUNode {name} cannot be read ({error}): are its CRD and this command of one version?"
        ) from error
