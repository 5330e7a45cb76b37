"""A wake and a start are measured where they happen."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator.metrics import OperatorMetrics


async def test_a_start_and_a_wake_are_in_the_metrics_by_their_path(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        metrics = OperatorMetrics(world)
        site.ask("default/p", 1)
        await kube.create(names.INFERENCE_POOL, bodies.pool())

        def told(line: str) -> bool:
            return f"{line} 1.0" in generate_latest(metrics.registry).decode()

        cold = 'ingle_actuation_seconds_count{path="cold",pool="default/p"}'
        await site.until(lambda: told(cold), "a start is counted")
        assert told('ingle_cold_start_seconds_count{pool="default/p"}')
        engine = next(iter(site.engines.values()))
        site.ask("default/p", 0)
        await site.until(lambda: engine.asleep, "it sleeps")
        site.ask("default/p", 1)
        hot = 'ingle_actuation_seconds_count{path="hot",pool="default/p"}'
        await site.until(lambda: told(hot), "a wake is counted")
        assert told('ingle_wake_seconds_count{pool="default/p",success="true"}')
