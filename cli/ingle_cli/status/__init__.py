"""`ingle status`: what runs, what holds which memory and watts, and who decides."""

from ingle_cli.status.gather import read_cluster
from ingle_cli.status.lines import Cluster, Summary
from ingle_cli.status.screen import screen
from ingle_cli.status.summary import summarise

__all__ = ["Cluster", "Summary", "read_cluster", "screen", "summarise"]
