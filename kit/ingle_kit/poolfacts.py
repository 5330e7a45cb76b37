"""InferencePools as the API has them, read for placement: by the extender, the operator and the command alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ingle_core.placement.loads import HOURS
from ingle_core.placement.pools import PoolFacts, Pools, VariantFacts, pools_of


class _Memory(msgspec.Struct, frozen=True):
    awake: int
    asleep: int = 0


class _Variant(msgspec.Struct, frozen=True, rename={"memory_mib": "memoryMiB", "products": "gpuProducts"}):
    memory_mib: _Memory
    gpus: int = 1
    products: tuple[str, ...] = ()


class _Replicas(msgspec.Struct, frozen=True):
    min: int = 0
    max: int = 1
    fixed: int | None = None


class _Warm(msgspec.Struct, frozen=True):
    asleep: int = 0
    level: str = ""


class _Spec(msgspec.Struct, frozen=True):
    variants: tuple[_Variant, ...] = ()
    replicas: _Replicas = _Replicas()
    warm: _Warm = _Warm()


class _Status(msgspec.Struct, frozen=True, rename={"percent": "demandPercentByHour"}):
    percent: tuple[int, ...] = ()


class _Pool(msgspec.Struct, frozen=True):
    """An InferencePool, the part that we read."""

    spec: _Spec = _Spec()
    status: _Status = _Status()


def pool_facts(obj: Mapping[str, Any]) -> PoolFacts:
    """ValueError (msgspec.ValidationError) says what cannot be read. A profile that is not of 24 hours is none."""
    pool = msgspec.convert(obj, _Pool)
    percent = pool.status.percent if len(pool.status.percent) == HOURS else ()
    spare = pool.spec.warm.level == "Spare"  # nothing of it stays on its GPUs
    variants = tuple(
        VariantFacts(one.memory_mib.awake, 0 if spare else one.memory_mib.asleep, one.gpus, one.products)
        for one in pool.spec.variants
    )
    found = PoolFacts(variants, _engines(pool.spec), percent)
    found.profile()  # says what is wrong with it
    return found


def known_pools(objects: Iterable[Mapping[str, Any]]) -> Pools:
    """All that can be read: one broken object does not hide the others."""
    found = []
    for obj in objects:
        metadata = obj["metadata"]
        try:
            found.append((f"{metadata.get('namespace', '')}/{metadata['name']}", pool_facts(obj)))
        except ValueError:
            continue
    return pools_of(found)


def _engines(spec: _Spec) -> int:
    """The most that `warmpool.plan` keeps, whatever the load."""
    replicas, asleep = spec.replicas, spec.warm.asleep
    awake = replicas.max if replicas.fixed is None else replicas.fixed
    return min(max(replicas.max, asleep), max(awake, replicas.min + asleep))
