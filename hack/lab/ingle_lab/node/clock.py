"""The wall clock as Kubernetes writes it."""

from __future__ import annotations

from datetime import UTC, datetime


def now_text() -> str:
    """Now, to the second (RFC 3339)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro_text() -> str:
    """Now, to the microsecond, as a Lease has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
