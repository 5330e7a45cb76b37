"""The ledger: who holds which memory and watts of a node, and how that may change."""

from ingle_core.ledger.changes import (
    LedgerError,
    Op,
    PodRef,
    applied,
    claim,
    difference,
    move,
    release,
    set_allotment,
    set_gpus,
)
from ingle_core.ledger.records import TRANSITIONS, Claim, Gpu, Holder, HostClaim, Ledger, State, Zone
from ingle_core.ledger.rules import Shortfall, charged_watts, fits, shortfall

__all__ = [
    "TRANSITIONS",
    "Claim",
    "Gpu",
    "Holder",
    "HostClaim",
    "Ledger",
    "LedgerError",
    "Op",
    "PodRef",
    "Shortfall",
    "State",
    "Zone",
    "applied",
    "charged_watts",
    "claim",
    "difference",
    "fits",
    "move",
    "release",
    "set_allotment",
    "set_gpus",
    "shortfall",
]
