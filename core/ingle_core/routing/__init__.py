"""Who serves a request: identify, permit, estimate, candidates, pick, hold.

`route` is the only decision; the rest are its steps. Nothing here reads a clock or draws luck:
`now_s` is any steadily growing clock of the caller, `tie` a fresh number in [0, 1).
"""

from ingle_core.routing.decisions import Decision, Hold, Refuse, Serve
from ingle_core.routing.directory import Directory, directory_of
from ingle_core.routing.facts import (
    Caller,
    Endpoint,
    Load,
    Permission,
    Policy,
    Pool,
    Question,
    Request,
    Wait,
    Warmth,
)
from ingle_core.routing.permit import Verdict, permit
from ingle_core.routing.route import route

__all__ = [
    "Caller",
    "Decision",
    "Directory",
    "Endpoint",
    "Hold",
    "Load",
    "Permission",
    "Policy",
    "Pool",
    "Question",
    "Refuse",
    "Request",
    "Serve",
    "Verdict",
    "Wait",
    "Warmth",
    "directory_of",
    "permit",
    "route",
]
