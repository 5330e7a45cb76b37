"""Upgrades and rollback: nothing changes without a reason, and no request fails."""

from __future__ import annotations

import copy
import time

from .cluster import Cluster, Installed, Traffic, wanted

DRIFT_AFTER_S = 60.0


def test_an_upgrade_with_the_same_values_changes_nothing(cluster: Cluster, installed: Installed) -> None:
    before = wanted(cluster.release())
    assert len(before) > 30
    cluster.helm("upgrade", values=installed.values)
    after = wanted(cluster.release())
    assert [name for name in before | after if before.get(name) != after.get(name)] == []


def test_nothing_has_drifted_after_a_minute(cluster: Cluster, installed: Installed) -> None:
    time.sleep(max(0.0, installed.at_s + DRIFT_AFTER_S - time.monotonic()))
    assert cluster.drift() == []


def test_no_request_fails_while_every_part_is_upgraded_and_rolled_back(
    cluster: Cluster, installed: Installed
) -> None:
    engines = {pod["metadata"]["uid"] for pod in cluster.items("pods", "-n", "chat")}
    changed = copy.deepcopy(installed.values)
    changed["operator"]["settings"] = {"log_level": "DEBUG"}
    changed["scheduler"]["settings"] = {"silent_s": 89.0}
    changed["gateway"]["settings"] = {"demand_period_s": 0.9}
    changed["agent"]["settings"] = {"heartbeat_seconds": 29.0}
    url, token = installed.gateway, cluster.token()
    new, kept = Traffic(url, token, apart_s=0.5), Traffic(url, token, apart_s=0.5, kept=True)
    with new, kept:
        cluster.helm("upgrade", values=changed)
        cluster.rolled_out()
        upgraded = len(new.answers), len(kept.answers)
        cluster.helm("rollback")
        cluster.rolled_out()
    after = len(new.answers) - upgraded[0], len(kept.answers) - upgraded[1]
    print(f"answers on connections new, kept: {upgraded} during the upgrade, {after} during the rollback")
    assert all(upgraded)
    assert all(after)
    assert new.failed == []
    assert kept.failed == []
    assert {pod["metadata"]["uid"] for pod in cluster.items("pods", "-n", "chat")} == engines
    assert cluster.drift() == []
    cluster.until("engines and ledger to agree", lambda: not cluster.disagreements(), 30)
