"""What `status` knows, one record per object. `-o json` prints these records, so their names are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

Object = dict[str, Any]
Word = Literal["True", "False", "Unknown"]

_UNITS: Final = {"mib": "MiB", "w": "Watts", "s": "Seconds"}


def wire_name(field: str) -> str:
    """`claimed_mib` -> `claimedMiB`, `cap_w` -> `capWatts`, `age_s` -> `ageSeconds`."""
    first, *rest = field.split("_")
    return first + "".join(_UNITS.get(word, word.capitalize()) for word in rest)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Objects as the API server gave them; None: they could not be read. `lease`: {} where there is none."""

    pools: list[Object] | None = None
    nodes: list[Object] | None = None
    budgets: list[Object] | None = None
    policies: list[Object] | None = None
    lease: Object | None = None


class ConditionLine(msgspec.Struct, frozen=True):
    """One condition, as it may be believed: Unknown where it was judged for an older generation."""

    type: str
    status: Word
    reason: str
    message: str


class PoolLine(msgspec.Struct, frozen=True, rename=wire_name):
    """Replicas by what they do, requests that are held, engines by tier, and conditions; `reason` is Ready's.

    `charged_w`: what the ledgers count for its engines, None: they could not be read. `tiers`: engines by state, such as
    AsleepL2, without those that there are none of.
    """

    namespace: str
    name: str
    model: str
    awake: int
    asleep: int
    starting: int
    wanted: int
    waiting: int
    tiers: dict[str, int]
    charged_w: int | None
    ready: Word
    reason: str
    message: str
    conditions: list[ConditionLine]


class NodeLine(msgspec.Struct, frozen=True, rename=wire_name):
    """Sums over the node's GPUs. `charged_w` is what the ledger counts; `allotted_w` None: no budget covers it.

    `heard_s`: seconds since the agent wrote, None: never. `silent`: too long for anything new to be placed.
    """

    name: str
    product: str
    gpus: int
    unusable_gpus: int
    pods: int
    claimed_mib: int
    allocatable_mib: int
    charged_w: int
    allotted_w: int | None
    heard_s: float | None
    silent: bool
    ready: Word
    reason: str
    message: str


class BudgetLine(msgspec.Struct, frozen=True, rename=wire_name):
    """Watts asked for, guaranteed now (`cap_w`), handed out, drawn; None: not known yet."""

    name: str
    asked_w: int
    cap_w: int | None
    allotted_w: int | None
    draw_w: int | None
    nodes: int
    state: str | None
    ready: Word
    reason: str
    message: str


class PolicyLine(msgspec.Struct, frozen=True, rename=wire_name):
    """Whether a policy is in force."""

    namespace: str
    name: str
    models: list[str]
    fallback: str | None
    accepted: Word
    reason: str
    message: str


class OperatorLine(msgspec.Struct, frozen=True, rename=wire_name):
    """The leader by its Lease; `leader` None: nobody leads. `held`: the lease still runs."""

    leader: str | None
    epoch: int
    renewed_s: float | None
    held: bool


class Summary(msgspec.Struct, frozen=True, rename=wire_name):
    """Everything on the screen. A part that is None could not be read. `namespace` None: all namespaces."""

    at: str
    namespace: str | None
    operator: OperatorLine | None
    pools: list[PoolLine] | None
    nodes: list[NodeLine] | None
    budgets: list[BudgetLine] | None
    policies: list[PolicyLine] | None
