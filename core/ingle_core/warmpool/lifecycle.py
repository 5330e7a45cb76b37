"""One engine's next step towards its goal.

The ledger's state is the intent; the engine's own word, the gate and the measured memory are the facts. The step
depends only on these, so an operator that was killed anywhere goes on where the last one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ingle_core.warmpool.facts import State
from ingle_core.warmpool.tiers import SLEEP_L1, START_COLD, STOP, WAKE_L1


class Act(StrEnum):
    """What the shell does next. `MOVE` writes the ledger; `WAIT` means a fact must change first.

    `LOWER` notes for good that the engine sleeps without its weights from now on.
    """

    WAIT = "Wait"
    PROBE = "Probe"
    MOVE = "Move"
    OPEN_GATE = "OpenGate"
    CLOSE_GATE = "CloseGate"
    CALL_SLEEP = "CallSleep"
    CALL_WAKE = "CallWake"
    CALL_REFRESH = "CallRefresh"
    LOWER = "Lower"
    DELETE = "Delete"


@dataclass(frozen=True)
class EngineFacts:
    """`asleep` None: the engine does not answer. `measured_mib`: the most used on one of its GPUs, None unknown.

    `drained`: no router picks it, none has a request there, and the engine reports none running.
    `quiet_at_s`: since when it is drained, None while it is not. `sleep_sent`: a sleep call may have gone out since it
    entered Sleeping; False only where that is certain. `claimed_mib`: its claim on one GPU, None unknown.
    `wake_refused`: it answered the wake with an error. `fresh` False: awake, but nobody saw the wake to its end, so its
    prefix cache may speak of memory that is gone. `probe_due`: it is time to look whether it is still at steady speed;
    `slow`: it was not, twice in a row. `drop`: another engine wants its host memory, so it sleeps without its weights.
    `spare`: asleep, there is no engine in its process, so a wake starts one, which is probed as after a start.
    """

    state: State
    since_s: float
    bound: bool
    running: bool
    ready: bool
    ended: bool
    gate: bool
    asleep: bool | None
    probed: bool
    drained: bool
    measured_mib: int | None
    residue_mib: int
    gpu_lost: bool = False
    quiet_at_s: float | None = None
    sleep_sent: bool = True
    claimed_mib: int | None = None
    wake_refused: bool = False
    fresh: bool = True
    probe_due: bool = False
    slow: bool = False
    drop: bool = False
    spare: bool = False


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds, and how far above the residue measured memory may stay after a sleep.

    `sleep_s` counts from when the engine was drained: a long last request is not the sleep's fault.
    """

    start_s: float
    sleep_s: float = SLEEP_L1.limit_s
    wake_s: float = WAKE_L1.limit_s
    drain_s: float = STOP.limit_s
    slack_mib: int = 512


@dataclass(frozen=True)
class Step:
    """`to`: the ledger state of a MOVE. `reason`: a documented reason code; `failed` counts against the pool."""

    act: Act
    reason: str = ""
    to: State | None = None
    failed: bool = False


WAIT = Step(Act.WAIT)
SHRINK_MIB = 64


def step(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    """The next step of one engine; `goal` None only finishes what is under way."""
    if facts.ended:
        return Step(Act.DELETE, "EngineLost", failed=facts.state is not State.STOPPING)
    if facts.gpu_lost:
        return Step(Act.DELETE, "GPULost", failed=True)
    if goal is State.ENDED or facts.state is State.STOPPING:
        return _stop(facts, limits, now_s)
    return _STEPS[facts.state](facts, goal, limits, now_s)


def charge_mib(to: State, awake_mib: int, residue_mib: int, measured_mib: int | None) -> int:
    """MiB to charge on each GPU in state `to`: a sleeper's residue, or what it was measured to keep if that is more."""
    return max(residue_mib, measured_mib or 0) if to is State.ASLEEP else awake_mib


def _stop(facts: EngineFacts, limits: Limits, now_s: float) -> Step:
    served_before = facts.state is State.STARTING and not facts.drained
    if facts.state in (State.PENDING, State.STARTING, State.ASLEEP) and not served_before:
        return Step(Act.CLOSE_GATE if facts.gate else Act.DELETE, "Stopped")
    if facts.state is not State.STOPPING:
        return Step(Act.MOVE, "Stopped", State.STOPPING)
    if facts.gate:
        return Step(Act.CLOSE_GATE, "Stopped")
    if facts.drained or now_s - facts.since_s > limits.drain_s:
        return Step(Act.DELETE, "Stopped")
    return WAIT


def _pending(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    return WAIT


def _starting(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    if facts.wake_refused or now_s - facts.since_s > limits.start_s:
        return Step(Act.DELETE, START_COLD.fails_as, failed=True)
    if facts.gate:
        return Step(Act.CLOSE_GATE, "EngineStarting")
    if not facts.ready or facts.asleep is None:
        return WAIT
    if facts.asleep and facts.spare:
        return _spare(facts, goal)
    if facts.asleep:
        return Step(Act.MOVE, "FoundAsleep", State.SLEEPING)
    if not facts.probed:
        return Step(Act.PROBE)
    return Step(Act.MOVE, "Probed", State.AWAKE)


def _spare(facts: EngineFacts, goal: State | None) -> Step:
    """The launcher of a spare that starts is ready, without an engine."""
    if facts.claimed_mib is not None and facts.claimed_mib <= facts.residue_mib:
        return Step(Act.MOVE, "FoundAsleep", State.ASLEEP)  # it was not charged for a load
    if goal is State.ASLEEP:
        return Step(Act.MOVE, "FoundAsleep", State.SLEEPING)
    return Step(Act.CALL_WAKE, "Wanted")


def _awake(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    if facts.asleep is True:
        return Step(Act.MOVE, "FoundAsleep", State.SLEEPING)
    if goal is State.ASLEEP:
        return Step(Act.LOWER) if facts.drop else Step(Act.MOVE, "Idle", State.SLEEPING)
    if facts.slow:
        return Step(Act.MOVE, "SlowAgain", State.STARTING)
    if not facts.gate and facts.ready and facts.asleep is False:
        return Step(Act.OPEN_GATE, "Serving")
    return Step(Act.PROBE) if facts.gate and facts.probe_due else WAIT


def _sleeping(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    if facts.asleep is False and goal is State.AWAKE and not facts.sleep_sent:
        return Step(Act.MOVE, "Wanted", State.AWAKE)
    if facts.gate:
        return Step(Act.CLOSE_GATE, "Idle")
    # Its claim is still that of one awake: it waits for nothing.
    if facts.asleep is True and goal is State.AWAKE:
        return Step(Act.MOVE, "Wanted", State.WAKING)
    overdue = facts.quiet_at_s is not None and now_s - facts.quiet_at_s > limits.sleep_s
    if facts.asleep is True and facts.measured_mib is not None:
        if facts.measured_mib <= facts.residue_mib + limits.slack_mib:
            return Step(Act.MOVE, "Asleep", State.ASLEEP)
        return Step(Act.DELETE, "SleepKeptMemory", failed=True) if overdue else WAIT
    if overdue and facts.asleep is not True:
        return Step(Act.DELETE, SLEEP_L1.fails_as, failed=True)
    if facts.asleep is False and facts.drained:
        return Step(Act.CALL_SLEEP, "Idle")
    return WAIT


def _asleep(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    if facts.gate:
        return Step(Act.CLOSE_GATE, "Asleep")
    if facts.asleep is False or goal is State.AWAKE:
        return Step(Act.MOVE, "Wanted", State.WAKING)
    if facts.drop:  # no engine drops its weights in its sleep
        return Step(Act.MOVE, "HostMemoryWanted", State.WAKING)
    if overcharged_mib(facts) >= SHRINK_MIB:
        return Step(Act.MOVE, "MemoryFell", State.ASLEEP)
    return WAIT


def overcharged_mib(facts: EngineFacts) -> int:
    """MiB that a sleeper's claim is above its residue and above what it keeps: memory may fall on after a sleep."""
    if facts.state is not State.ASLEEP or facts.measured_mib is None or facts.claimed_mib is None:
        return 0
    return max(0, facts.claimed_mib - max(facts.residue_mib, facts.measured_mib))


def _waking(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> Step:
    if facts.asleep is False and facts.fresh:
        return Step(Act.MOVE, "Woken", State.STARTING if facts.spare else State.AWAKE)
    if facts.wake_refused or now_s - facts.since_s > limits.wake_s:
        return Step(Act.DELETE, WAKE_L1.fails_as, failed=True)
    if facts.asleep is None:
        return WAIT
    return Step(Act.CALL_WAKE if facts.asleep else Act.CALL_REFRESH, "Wanted")


_STEPS = {
    State.PENDING: _pending,
    State.STARTING: _starting,
    State.AWAKE: _awake,
    State.SLEEPING: _sleeping,
    State.ASLEEP: _asleep,
    State.WAKING: _waking,
}
