"""Uninstall in the order that docs/install.md gives: caps go back, and nothing stays but what says `keep`."""

from __future__ import annotations

from ingle_lab.realnode import RealNode

from . import fence, removal
from .cluster import Cluster, Installed


def test_a_budget_lowers_limits_and_its_end_gives_them_back(
    cluster: Cluster, installed: Installed, node: RealNode
) -> None:
    removal.uncap(cluster, node, removal.cap(cluster, node))


def test_nothing_stays_but_what_says_keep(cluster: Cluster, installed: Installed) -> None:
    """Of a managed node's holders neither: a pod that waited for a GPU runs."""
    fence.raise_up(cluster)
    fence.ask_for_a_gpu(cluster)
    cluster.until("the default scheduler to find no GPU", lambda: fence.waits(cluster), 30)
    removal.uninstall(cluster)
    cluster.until("the waiting pod to run", lambda: fence.runs(cluster), 60)
    fence.take_down(cluster)
    fence.forget(cluster)


def test_no_namespace_gets_stuck(cluster: Cluster, installed: Installed) -> None:
    removal.delete_spaces_and_kinds(cluster)
