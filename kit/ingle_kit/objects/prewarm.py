"""Replicas made ready by the clock: part of an InferencePool."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ingle_core.warmpool.prewarm import cron_fault, zone_fault
from ingle_kit.objects.base import ApiModel


def _readable_cron(text: str) -> str:
    fault = cron_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def _known_zone(text: str) -> str:
    fault = zone_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


class Prewarm(ApiModel):
    """Replicas that are awake for a while from a time on, whether or not anybody asks."""

    cron: Annotated[
        str,
        Field(max_length=128, pattern=r"^[0-9A-Za-z*/,#-]+( +[0-9A-Za-z*/,#-]+){4}$"),
        AfterValidator(_readable_cron),
    ] = Field(
        description="When: minute, hour, day of month, month, day of week, as in Debian's cron (`30 7 * * MON-FRI`)."
    )
    zone: Annotated[
        str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$"), AfterValidator(_known_zone)
    ] = Field(
        default="UTC", description="Time zone of `cron`, by its IANA name (Europe/Berlin). Absent: UTC."
    )
    replicas: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1,
        description="Replicas awake, at most replicas.max; replicas.fixed wins. Absent: 1.",
    )
    minutes: Annotated[int, Field(ge=1, le=10_080)] = Field(
        default=30, description="Minutes from each firing for which they are kept awake. Absent: 30."
    )
