"""Two extenders, pods that race, kills, lost and repeated binds: nothing is sold twice, nothing leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.real.bulk import Bulk
from bench.real.objects import Shape
from bench.real.races import Plan, Race

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster

    from ingle_lab.controlplane import ControlPlane

SHAPES = [Shape(f"race{i}", gpus=4) for i in range(4)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_extenders_that_die_at_random_sell_nothing_twice_and_leak_no_claim(
    cluster: Cluster, plane: ControlPlane, seed: int
) -> None:
    bulk = Bulk(cluster.kube)
    await bulk.make_nodes(SHAPES)
    plan = Plan(pods=60, in_flight=40, seed=seed, ends=0.95, kill_s=(0.1, 0.4))
    names = [shape.name for shape in SHAPES]
    done = await Race(bulk, str(plane.kubeconfig), names, plan, progress=lambda _: None).run()
    assert (done.oversold, done.unclaimed) == (0, 0)
    assert (done.end.unclaimed, done.end.leaked, done.end.oversold) == (0, 0, 0)
    assert done.bound + done.vanished + done.given_up == plan.pods
    assert done.bound > plan.pods / 3
    assert done.kills > 0
    assert done.lost > 0
    assert done.repeated > 0
