"""A power budget that is cut holds at every moment, and a wake that no longer fits is refused."""

from __future__ import annotations

from ingle_lab.demo import steps
from ingle_lab.demo.scene import Scene


async def test_a_cut_by_a_third_holds_at_every_sample_and_a_pool_that_cannot_wake_falls_back(
    scene: Scene,
) -> None:
    counts = scene.witness.counts if scene.witness else None
    assert counts is not None
    before = counts.budget_samples
    await steps.power_cut(scene)
    assert scene.figures["cap_reached_s"] <= 5
    assert counts.budget_samples > before
    assert counts.budget_violations == 0, counts.worst
