"""Whether an engine sleeps that does not tell (SGLang): by the ledger, by what it was told, and by its memory.

Such an engine does not bear the same call twice either: it ends when it is told to sleep while it sleeps, or to wake
while it is awake. So None, which makes the life cycle wait and then replace it, wherever a call may have gone out
and nothing says what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingle_core.warmpool.facts import State

UNTOLD_S = 30.0


@dataclass(frozen=True)
class Told:
    """`ours`: this process moved it to the state it is in. `sent`: and has called it since. `done`: with success.

    `quiet_s`: seconds since it was drained, while it is to sleep. Memory in MiB on one GPU, `measured_mib` None unknown.
    """

    ours: bool
    sent: bool
    done: bool
    quiet_s: float
    measured_mib: int | None
    residue_mib: int
    slack_mib: int


def asleep(state: State, told: Told) -> bool | None:
    """Whether it sleeps; None where that is not certain."""
    if state is State.ASLEEP:
        return True
    if state is State.SLEEPING:
        return _falling_asleep(told)
    if state is State.WAKING:
        return _waking(told)
    return False


def _falling_asleep(told: Told) -> bool | None:
    if told.ours and not told.sent:
        return False
    if told.done or _low(told):
        return True
    if told.sent:
        return None
    # An earlier leader's call would have shown in its memory by now, were it not hung.
    return False if told.measured_mib is not None and told.quiet_s > UNTOLD_S else None


def _waking(told: Told) -> bool | None:
    if told.done:
        return False
    if told.sent:
        return None
    return True if told.ours or _low(told) else None


def _low(told: Told) -> bool:
    return told.measured_mib is not None and told.measured_mib <= told.residue_mib + told.slack_mib
