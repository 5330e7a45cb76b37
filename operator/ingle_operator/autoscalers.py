"""HorizontalPodAutoscalers that set a pool's /scale. KEDA makes one for each of its ScaledObjects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingle_kit.kube import Object
from ingle_kit.names import GROUP, INFERENCE_POOL
from ingle_kit.objects import InferencePoolSpec

KEDA_KIND = "ScaledObject"


@dataclass(frozen=True)
class Autoscaler:
    """`pool`: namespace/name of the InferencePool that it scales; empty where it scales something else."""

    pool: str
    owner: str


def autoscaler_of(obj: Object) -> Autoscaler:
    metadata, target = obj["metadata"], obj["spec"]["scaleTargetRef"]
    ours = (
        target.get("kind") == INFERENCE_POOL.kind and target.get("apiVersion", "").partition("/")[0] == GROUP
    )
    keda = next((o for o in metadata.get("ownerReferences") or () if o.get("kind") == KEDA_KIND), None)
    owner = (
        f"{KEDA_KIND} {keda['name']}" if keda is not None else f"HorizontalPodAutoscaler {metadata['name']}"
    )
    return Autoscaler(f"{metadata['namespace']}/{target['name']}" if ours else "", owner)


def owners(autoscalers: Iterable[Autoscaler], pool: str) -> list[str]:
    """Who sets the pool's count in our place, by kind and name."""
    return sorted({a.owner for a in autoscalers if a.pool == pool})


def contradiction(spec: InferencePoolSpec, owners: list[str]) -> str:
    """Why two of them want to decide a pool's count, and what to change; empty where one does or none."""
    if len(owners) > 1:
        return f"{' and '.join(owners)} both scale this pool: delete all but one"
    if owners and scales_itself(spec):
        return (
            f"{owners[0]} scales this pool, so its own scaling.queue, kvPercent, ttftMilliseconds and forecast do"
            " nothing: remove them here, or remove that and then spec.replicas.fixed"
        )
    return ""


def scales_itself(spec: InferencePoolSpec) -> bool:
    """Whether the pool asks for more than counting requests."""
    scaling = spec.scaling
    signals = (scaling.queue, scaling.kv_percent, scaling.ttft_milliseconds)
    return scaling.forecast != "None" or any(signal is not None for signal in signals)
