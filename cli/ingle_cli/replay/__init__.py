"""`ingle replay`: recorded arrivals through the same decisions, on a virtual clock. Asks no cluster."""

from ingle_cli.replay.placement import Wanted, replayed
from ingle_simulator.placement import POLICIES

__all__ = ["POLICIES", "Wanted", "replayed"]
