"""`ingle replay`: recorded arrivals through the same decisions, on a virtual clock. Asks no cluster."""

from ingle_cli.replay.placement import Wanted, replayed
from ingle_cli.replay.warm import POLICIES as WARM_POLICIES
from ingle_cli.replay.warm import WarmWanted, replayed_warm
from ingle_simulator.placement import POLICIES

__all__ = ["POLICIES", "WARM_POLICIES", "Wanted", "WarmWanted", "replayed", "replayed_warm"]
