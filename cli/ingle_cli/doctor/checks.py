"""Every check with why it matters, in the order in which a person should mend what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ingle_cli.doctor import installed, running
from ingle_cli.doctor.facts import Facts, Finding, Found


class Check(NamedTuple):
    """One line of the table."""

    name: str
    find: Callable[[Facts], Iterator[Found]]
    why: str


CHECKS: Final = (
    Check(
        "kinds", installed.kinds, "The API server drops fields that its kinds do not know, and says nothing."
    ),
    Check(
        "versions", installed.versions, "Parts of several versions may not understand each other's objects."
    ),
    Check("rights", installed.rights, "A process that lacks a right stops at the step that needs it."),
    Check(
        "policies",
        installed.guards,
        "They keep agents to their own node, ledgers and engine pods to Ingle, and priority High to whom it is given.",
    ),
    Check("flow", installed.flows, "A busy API server serves others first without them, and leases run out."),
    Check("operator", running.operator, "Without a leader nothing is started, woken or put to sleep."),
    Check("scheduler", running.scheduler, "Without it no new engine gets a node."),
    Check("gateways", running.gateways, "Every request goes through them."),
    Check(
        "agents",
        running.agents,
        "A node whose agent is silent takes nothing new, and falls to safe power limits.",
    ),
    Check(
        "clocks",
        running.clocks,
        "Heartbeats are compared across nodes: a clock that is behind makes a node silent, one ahead hides that it is.",
    ),
    Check("gpus", running.gpus, "What the ledger gives away must be there, and nobody else's."),
    Check("you", installed.own_rights, "What you may not read, the commands cannot show."),
)


def findings(facts: Facts) -> list[Finding]:
    """What every check finds, in order, nothing twice."""
    found = {
        (check.name, one): Finding(check.name, one.level, one.what, check.why, one.todo)
        for check in CHECKS
        for one in check.find(facts)
    }
    return list(found.values())
