"""InferencePools read for placement."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.placement import Ask, AskMemory
from ingle_core.placement.pools import PoolFacts, VariantFacts
from ingle_core.warmpool.facts import Demand, Failures, PoolWish
from ingle_core.warmpool.plan import plan
from ingle_kit.objects.inferencepool import ReplicaRange
from ingle_kit.poolfacts import known_pools, pool_facts


def pool(name: str = "p", awake: Any = 40000, percent: Any = None, **spec: Any) -> dict[str, Any]:
    variant = {
        "name": "v",
        "gpus": 2,
        "memoryMiB": {"awake": awake, "asleep": 2000, "host": 0},
        "gpuProducts": ["A"],
    }
    status = {} if percent is None else {"demandPercentByHour": percent}
    return {
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"variants": [variant], **spec},
        "status": status,
    }


def test_what_is_absent_is_as_the_api_says() -> None:
    variant = VariantFacts(40000, 2000, 2, ("A",))
    assert pool_facts(pool()) == PoolFacts((variant,), engines=1)
    assert pool_facts({"metadata": {"name": "x"}}).engines == 1
    assert pool_facts(pool(percent=[7] * 24)).percent == (7,) * 24
    assert pool_facts(pool(percent=[])).percent == pool_facts(pool(percent=[1])).percent == ()


@pytest.mark.parametrize(
    ("replicas", "asleep", "engines"),
    [
        ({}, 0, 1),
        ({"max": 0}, 0, 0),
        ({"max": 4}, 1, 4),
        ({"max": 4, "fixed": 1}, 0, 1),
        ({"max": 4, "fixed": 1}, 3, 3),
        ({"min": 2, "max": 3, "fixed": 2}, 2, 3),
        ({"min": 0, "max": 1}, 5, 5),
    ],
)
def test_engines_are_as_many_as_the_plan_starts_under_endless_load(
    replicas: dict[str, int], asleep: int, engines: int
) -> None:
    bounds = ReplicaRange.model_validate(replicas)
    wish = PoolWish(bounds.min, bounds.max, asleep, 1.0, 1, "r", "v", fixed=bounds.fixed)
    assert plan(wish, [], Demand(waiting=10**6), Failures(), 0.0).start == engines
    assert pool_facts(pool(replicas=replicas, warm={"asleep": asleep})).engines == engines


@pytest.mark.parametrize(
    "broken",
    [pool(awake="much"), pool(awake=0), pool(replicas=[]), pool(percent=[101] * 24), pool(percent="x")],
)
def test_a_pool_that_cannot_be_read_is_told_and_hides_no_other(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        pool_facts(broken)
    pools = known_pools([broken, pool("good", 30000)])
    assert pools.asks() == [Ask(AskMemory(30000, 2000), "a/good", gpus=2, products=("A",))]
