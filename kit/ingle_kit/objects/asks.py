"""What an engine of a pool asks of placement: written by the operator, asked ahead of time by `ingle whatif`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ingle_core.warmpool.cachekey import Compiled, compile_base, weights_name
from ingle_kit.objects.base import dump
from ingle_kit.objects.gpunode import GpuStatus
from ingle_kit.objects.inferencepool import InferencePoolSpec
from ingle_kit.objects.template import EnvVar
from ingle_kit.objects.variant import Variant


class NodeGpus(NamedTuple):
    """A node as the choice of a variant sees it: its labels and GPUs, whoever uses them now."""

    labels: Mapping[str, str]
    gpus: Sequence[GpuStatus]


def busy_w_per_gpu(variant: Variant) -> int:
    """Watts charged on each GPU while awake, rounded up."""
    return -(-variant.watts.busy // variant.gpus)


def placement_ask(pool: str, spec: InferencePoolSpec, variant: Variant) -> dict[str, Any]:
    """The annotation `ingle.dev/placement`; memory (MiB) and watts per GPU, host memory per replica.

    `pool`: namespace/name.
    """
    placement, memory = spec.placement, variant.memory_mib
    level = spec.warm.level
    host_mib, asleep_mib = memory.host if level == "L1" else 0, 0 if level == "Spare" else memory.asleep
    scorers = {"scorers": placement.changed_percent} if placement.changed_percent else {}
    return (
        {
            "pool": pool,
            "variant": variant.name,
            "model": spec.model,
            "gpus": variant.gpus,
            "memoryMiB": {"awake": memory.awake, "asleep": asleep_mib, "host": host_mib},
            "engine": spec.engine.kind,
            "level": level,
            "watts": busy_w_per_gpu(variant),
            "products": list(variant.gpu_products),
            "numa": placement.numa,
            "nvlink": placement.nvlink,
            "strategy": placement.strategy,
            "priority": spec.priority,
        }
        | scorers
        | _on_disk(pool.partition("/")[0], spec, variant)
    )


def _on_disk(namespace: str, spec: InferencePoolSpec, variant: Variant) -> dict[str, str]:
    """What makes a start shorter where a node's disk has it: base of the compile cache, name of the weights."""
    found: dict[str, str] = {}
    if spec.engine.node_cache is False:
        return found
    weights = spec.engine.weights
    if weights is not None:
        found["weights"] = weights_name(namespace, spec.model, weights.claim_name, weights.path)
    if spec.engine.kind != "Custom":
        found["compileKey"] = compile_base(
            Compiled(
                namespace=namespace,
                image=spec.engine.image,
                model=spec.model,
                args=(*spec.engine.args, *variant.args),
                gpus=variant.gpus,
                context_tokens=variant.context_tokens,
                environment=tuple((item.name, item.value or _source(item)) for item in spec.template.env),
            )
        )
    return found


def _source(item: EnvVar) -> str:
    """Where a variable's value comes from; never the value."""
    return json.dumps(dump(item.value_from), sort_keys=True) if item.value_from else ""


def fits_empty(gpus: Iterable[GpuStatus], variant: Variant) -> bool:
    """Whether one node's GPUs, were they empty, are enough: healthy, of a wanted product and size, not in MIG mode, and
    not given to another pod by the kubelet."""
    return sum(_fits(gpu, variant) for gpu in gpus) >= variant.gpus


def fitting_variant(spec: InferencePoolSpec, nodes: Sequence[NodeGpus]) -> Variant | None:
    """The first variant that some selected node could hold when empty; None where none can."""
    wanted = spec.placement.node_selector.items()
    selected = [node for node in nodes if wanted <= node.labels.items()]
    return next((v for v in spec.variants if any(fits_empty(n.gpus, v) for n in selected)), None)


def _fits(gpu: GpuStatus, variant: Variant) -> bool:
    room_mib = gpu.memory_mib.total - gpu.memory_mib.reserved
    product_fits = not variant.gpu_products or gpu.product in variant.gpu_products
    usable = gpu.health == "Healthy" and not gpu.mig and gpu.held_by != "Other"
    return product_fits and usable and room_mib >= variant.memory_mib.awake
