"""The ask of an engine, and the variant that some node could hold."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_kit.objects import GpuStatus, InferencePoolSpec
from ingle_kit.objects.asks import NodeGpus, fitting_variant, placement_ask


def variant(
    name: str, *, gpus: int = 1, awake: int = 40000, products: tuple[str, ...] = ()
) -> dict[str, Any]:
    memory = {"awake": awake, "asleep": 2000, "host": 17000}
    watts = {"busy": 1001, "idle": 90}
    return {"name": name, "gpus": gpus, "memoryMiB": memory, "watts": watts, "gpuProducts": list(products)}


def spec(*variants: dict[str, Any], **more: Any) -> InferencePoolSpec:
    engine = {"kind": "VLLM", "image": "x"}
    return InferencePoolSpec.model_validate({"model": "m", "engine": engine, "variants": variants, **more})


def gpu(mib: int = 80000, **more: Any) -> GpuStatus:
    memory = {"total": mib, "reserved": 0, "free": 0}
    return GpuStatus.model_validate(
        {"uuid": "GPU-a", "index": 0, "product": "H100", "memoryMiB": memory, **more}
    )


def test_watts_are_per_gpu_and_rounded_up() -> None:
    ask = placement_ask(
        "chat/m", spec(variant("v", gpus=2), priority="High"), spec(variant("v", gpus=2)).variants[0]
    )

    assert (ask["watts"], ask["gpus"], ask["priority"]) == (501, 2, "High")
    assert ask["model"] == spec(variant("v")).model
    assert ask["memoryMiB"] == {"awake": 40000, "asleep": 2000, "host": 17000}


@pytest.mark.parametrize(
    ("gpus", "chosen"),
    [
        ([gpu(), gpu()], "pair"),
        ([gpu()], "one"),
        ([gpu(), gpu(health="Lost")], "one"),
        ([gpu(mib=30000)], None),
        ([gpu(mig=True)], None),
        ([], None),
    ],
)
def test_the_first_variant_that_a_node_could_hold_when_empty_is_taken(
    gpus: list[GpuStatus], chosen: str | None
) -> None:
    found = fitting_variant(spec(variant("pair", gpus=2), variant("one")), [NodeGpus({}, gpus)])

    assert (found.name if found else None) == chosen


def test_only_selected_nodes_and_wanted_products_count() -> None:
    wanted = spec(
        variant("b", products=("B200",)),
        variant("h", products=("H100",)),
        placement={"nodeSelector": {"zone": "x"}},
    )
    there, elsewhere = NodeGpus({"zone": "x"}, [gpu()]), NodeGpus({}, [gpu(product="B200")])

    found = fitting_variant(wanted, [there, elsewhere])
    assert found is not None
    assert found.name == "h"
    assert fitting_variant(wanted, [elsewhere]) is None
