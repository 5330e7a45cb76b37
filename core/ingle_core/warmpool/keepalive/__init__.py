"""How long an idle pool stays warm, when it is made ready again, and who gives way: strategies in one table."""

from collections.abc import Callable
from typing import Final

from ingle_core.warmpool.keepalive.expecteduse import ExpectedUse, next_price
from ingle_core.warmpool.keepalive.facts import POOLS_MAX, Keep, Pool, Strategy, first_to_go
from ingle_core.warmpool.keepalive.fixed import Fixed
from ingle_core.warmpool.keepalive.greedydual import GreedyDual
from ingle_core.warmpool.keepalive.histogram import Histogram

STRATEGIES: Final[dict[str, Callable[[], Strategy]]] = {
    "Fixed": Fixed,
    "Histogram": Histogram,
    "GreedyDual": GreedyDual,
    "ExpectedUse": ExpectedUse,
}

__all__ = [
    "POOLS_MAX",
    "STRATEGIES",
    "ExpectedUse",
    "Fixed",
    "GreedyDual",
    "Histogram",
    "Keep",
    "Pool",
    "Strategy",
    "first_to_go",
    "next_price",
]
