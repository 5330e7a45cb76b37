"""When pools are wanted and how large their engines are, from the InferencePools, for placement to look at."""

from __future__ import annotations

from typing import Any

import msgspec

from ingle_core.placement.conflict import HOURS, Profile


class _Memory(msgspec.Struct, frozen=True):
    awake: int
    asleep: int = 0


class _Variant(msgspec.Struct, frozen=True, rename={"memory_mib": "memoryMiB"}):
    memory_mib: _Memory


class _Spec(msgspec.Struct, frozen=True):
    variants: tuple[_Variant, ...] = ()


class _Status(msgspec.Struct, frozen=True, rename={"percent": "demandPercentByHour"}):
    percent: tuple[int, ...] = ()


class _Pool(msgspec.Struct, frozen=True):
    """An InferencePool, the part that we read."""

    spec: _Spec = _Spec()
    status: _Status = _Status()


def profile_of(obj: dict[str, Any]) -> Profile | None:
    """None while the operator has not told when the pool is wanted. ValueError says what cannot be read.

    A sleeper's variant is not in the ledger: of several, the one that needs most awake counts.
    """
    pool = msgspec.convert(obj, _Pool)
    if len(pool.status.percent) != HOURS or not pool.spec.variants:
        return None
    largest = max((variant.memory_mib for variant in pool.spec.variants), key=lambda memory: memory.awake)
    return Profile(largest.awake, min(largest.asleep, largest.awake), pool.status.percent)
