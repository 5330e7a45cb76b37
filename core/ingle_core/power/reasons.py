"""Why a power decision came out as it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BELOW_MINIMUM_LIMITS: Final = "BelowMinimumLimits"
BELOW_CLAIMS: Final = "BelowClaims"
LOWERING: Final = "Lowering"
SILENT: Final = "Silent"
NOT_ENFORCED: Final = "NotEnforced"
RAISING: Final = "Raising"


@dataclass(frozen=True, slots=True)
class Reason:
    """`code` is one of the constants above; `subject` the node or GPU it is about, empty for the whole."""

    code: str
    message: str
    subject: str = ""
