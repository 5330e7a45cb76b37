"""Conditions: what every kind's status says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from ingle_kit.objects.base import ApiModel, Timestamp, list_map

ACCEPTED: Final = "Accepted"
READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
ATTACHED: Final = "Attached"

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One observation about an object."""

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Accepted (the spec can be acted on), Ready (it does what was asked), Reconciling (work is "
        "under way), Stalled (a person has to change something) or Attached (pods sit on the GPUs they claim)."
    )
    status: ConditionStatus = Field(description="True, False, or Unknown while it has not been observed.")
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="One word for why; every reason is explained in docs/reasons.md."
    )
    message: Annotated[str, Field(max_length=1024)] = Field(
        default="",
        description="The same for people, with figures and what to change. Absent: nothing to add.",
    )
    observed_generation: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="metadata.generation this was judged for; an older one is out of date. Absent: 0.",
    )
    last_transition_time: Timestamp = Field(description="When status last changed (RFC 3339).")


Conditions = Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))]


def find(conditions: Sequence[Condition], type: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type), None)


def with_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    """The conditions with `new` in its place (order kept, added at the end where new).

    `last_transition_time` stays that of the old one unless `status` changed. Messages over 1024 characters
    are the caller's to shorten.
    """
    old = find(conditions, new.type)
    if old is None:
        return [*conditions, new]
    if old.status == new.status:
        new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    return [new if condition.type == new.type else condition for condition in conditions]
