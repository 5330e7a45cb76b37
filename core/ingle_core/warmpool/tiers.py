"""The tiers of warmth and the moves between them, as one table: what each needs, costs, may take, and how it fails.

The life cycle takes its time limits and reasons from here, making room its seconds; docs/tiers.md shows the same rows.
Seconds are defaults until an engine has been measured: loads and wakes of models around 8e9 to 32e9 parameters on an H100.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingle_core.warmpool.facts import State


class Tier(StrEnum):
    """How warm a model is on a node."""

    HOT = "Hot"
    ASLEEP_L1 = "AsleepL1"
    ASLEEP_L2 = "AsleepL2"
    SPARE = "Spare"
    CACHED = "Cached"
    COLD = "Cold"


class Level(StrEnum):
    """How deep an engine sleeps: `L1` keeps the weights in host memory, `L2` drops them, `SPARE` ends the engine and keeps
    the process with its imports done."""

    L1 = "L1"
    L2 = "L2"
    SPARE = "Spare"


HOLDS: Final[dict[Tier, str]] = {
    Tier.HOT: "GPU memory `awake`, busy watts; answers, and its own probes are at steady speed",
    Tier.ASLEEP_L1: "GPU memory `asleep` (the residue), weights in host memory `host`",
    Tier.ASLEEP_L2: "GPU memory `asleep`, no host memory; process, CUDA context and kernels stay",
    Tier.SPARE: "no GPU memory, no host memory claimed; the pod on its GPUs, in it a launcher with its imports done",
    Tier.CACHED: "weights and compile cache on the node's disk; no process",
    Tier.COLD: "nothing",
}


@dataclass(frozen=True)
class Move:
    """One way between two tiers. `cost_s`: seconds where nothing is measured; `measured`: the field that replaces it.

    `limit_s`: after this it has failed with reason `fails_as`; `limit_from`: the setting or field that replaces it.
    `needs`: what must hold before. `failed`: what happens then. `half`: what happens when it is done in part, or the
    operator was killed on the way.
    """

    name: str
    origin: Tier
    to: Tier
    needs: str
    cost_s: float
    measured: str
    limit_s: float
    limit_from: str
    fails_as: str
    failed: str
    half: str


FIRST_SLEEP_S: Final = 17.4
"""The first sleep of a 32e9 model to L1 on an H100, which pins the host memory; later ones are far shorter."""

_START_LIMIT: Final = (300.0, "spec.engine.startSeconds", "EngineNeverReady")
_SLEEP_LIMIT: Final = (120.0, "INGLE_SLEEP_LIMIT_S", "SleepFailed")
_WAKE_LIMIT: Final = (60.0, "INGLE_WAKE_LIMIT_S", "WakeFailed")
_REPLACED: Final = "replaced; its claim stays until the pod is gone"
_START_NEEDS: Final = "a claim of `awake` MiB and busy watts; the choice of the extender"
_START_FAILED: Final = "replaced after a pause that doubles"
_START_HALF: Final = "Starting is in the ledger: probed again"
_SLEEP_NEEDS: Final = "idle; gate closed, no router picks it, 0 running in the engine"
_SLEEP_HALF: Final = "memory above `asleep` + slack: charged as awake, then `SleepKeptMemory` and replaced"
_WAKE_NEEDS: Final = "a claim of `awake` MiB and busy watts; no other transition on its GPUs"

START_COLD: Final = Move(
    "start", Tier.COLD, Tier.HOT, _START_NEEDS, 60.0, "startMilliseconds", *_START_LIMIT,
    _START_FAILED, _START_HALF,
)  # fmt: skip
START_CACHED: Final = Move(
    "start from disk", Tier.CACHED, Tier.HOT, _START_NEEDS, 40.0, "startMilliseconds", *_START_LIMIT,
    _START_FAILED, _START_HALF,
)  # fmt: skip
SLEEP_L1: Final = Move(
    "sleep", Tier.HOT, Tier.ASLEEP_L1, _SLEEP_NEEDS + "; `host` MiB claimed since the start", 5.0, "", *_SLEEP_LIMIT,
    _REPLACED, _SLEEP_HALF,
)  # fmt: skip
SLEEP_L2: Final = Move(
    "sleep and drop the weights", Tier.HOT, Tier.ASLEEP_L2, _SLEEP_NEEDS, 0.5, "", *_SLEEP_LIMIT, _REPLACED, _SLEEP_HALF,
)  # fmt: skip
WAKE_L1: Final = Move(
    "wake", Tier.ASLEEP_L1, Tier.HOT, _WAKE_NEEDS, 3.0, "wakeMilliseconds", *_WAKE_LIMIT,
    _REPLACED + "; at once when the engine answers with an error", "called again from its first step",
)  # fmt: skip
WAKE_L2: Final = Move(
    "wake and read the weights", Tier.ASLEEP_L2, Tier.HOT, _WAKE_NEEDS, 8.0, "wakeMilliseconds", *_WAKE_LIMIT,
    _REPLACED + "; at once when the engine answers with an error",
    "the engine sleeps until all is awake: called again from its first step",
)  # fmt: skip
SLEEP_SPARE: Final = Move(
    "end the engine", Tier.HOT, Tier.SPARE, _SLEEP_NEEDS, 2.0, "", *_SLEEP_LIMIT, _REPLACED, _SLEEP_HALF,
)  # fmt: skip
WAKE_SPARE: Final = Move(
    "load into the spare", Tier.SPARE, Tier.HOT, _WAKE_NEEDS, 24.0, "wakeMilliseconds", *_START_LIMIT,
    _REPLACED + "; at once when the launcher says that the engine ended", "called again: one load is under way at most",
)  # fmt: skip
START_SPARE: Final = Move(
    "start the launcher", Tier.COLD, Tier.SPARE, "nobody wants it awake; GPUs that could hold it awake once empty", 20.0, "",
    *_START_LIMIT, _START_FAILED, "Starting is in the ledger, with a claim of nothing: asleep once the launcher answers",
)  # fmt: skip
DROP: Final = Move(
    "drop the weights", Tier.ASLEEP_L1, Tier.ASLEEP_L2,
    "another engine wants its host memory; vLLM; room to wake: a claim of `awake` MiB and busy watts; gate closed",
    3.5, "", *_WAKE_LIMIT, "replaced, which frees the host memory too",
    "awake with its gate closed: sleeps again, without weights once its annotation `ingle.dev/level` says so",
)  # fmt: skip
DEMOTE: Final = Move(
    "probe again", Tier.HOT, Tier.HOT, "idle, and two probes in a row were slower than steady", 2.0, "", *_START_LIMIT,
    _REPLACED, "gate closed and Starting in the ledger until probes are steady, or have been tried enough",
)  # fmt: skip
STOP: Final = Move(
    "stop", Tier.HOT, Tier.COLD, "not wanted; gate closed, then drained", 0.0, "", 600.0, "INGLE_DRAIN_LIMIT_S", "Stopped",
    "ended with its last requests unanswered", "Stopping is in the ledger: goes on",
)  # fmt: skip

MOVES: Final[tuple[Move, ...]] = (
    START_COLD,
    START_CACHED,
    SLEEP_L1,
    SLEEP_L2,
    WAKE_L1,
    WAKE_L2,
    START_SPARE,
    SLEEP_SPARE,
    WAKE_SPARE,
    DROP,
    DEMOTE,
    STOP,
)
_SLEEPS: Final = {Level.L1: SLEEP_L1, Level.L2: SLEEP_L2, Level.SPARE: SLEEP_SPARE}
_WAKES: Final = {Level.L1: WAKE_L1, Level.L2: WAKE_L2, Level.SPARE: WAKE_SPARE}
_ASLEEP: Final = {Level.L1: Tier.ASLEEP_L1, Level.L2: Tier.ASLEEP_L2, Level.SPARE: Tier.SPARE}


def level_of(text: str) -> Level:
    """The level by its name; `L1` for an engine that was made before there were levels."""
    return next((level for level in Level if level == text), Level.L1)


def sleep_of(level: Level) -> Move:
    """From hot to that level."""
    return _SLEEPS[level]


def wake_of(level: Level) -> Move:
    """From that level to hot."""
    return _WAKES[level]


def tier_of(state: State, level: Level) -> Tier | None:
    """The tier of a settled engine; None while it is on its way or has not started."""
    if state is State.ASLEEP:
        return _ASLEEP[level]
    return Tier.HOT if state is State.AWAKE else None


def seconds_of(move: Move, measured_ms: int | None) -> float:
    """How long a move takes: as it was measured (ms) the last time, else its default."""
    return move.cost_s if measured_ms is None else measured_ms / 1000


def rows() -> list[str]:
    """Both tables in Markdown, as docs/tiers.md has them."""
    tiers = ["| tier | holds |", "|---|---|", *(f"| {tier.value} | {HOLDS[tier]} |" for tier in Tier)]
    head = "| move | from | to | needs | costs | limit | when it fails | when half done |"
    moves = [
        f"| {m.name} | {m.origin.value} | {m.to.value} | {m.needs} | {_cost(m)} | {m.limit_s:g} s, `{m.limit_from}`"
        f" | `{m.fails_as}`: {m.failed} | {m.half} |"
        for m in MOVES
    ]
    return [*tiers, "", head, "|---|---|---|---|---|---|---|---|", *moves]


def _cost(move: Move) -> str:
    return f"{move.cost_s:g} s, then `{move.measured}`" if move.measured else f"{move.cost_s:g} s"
