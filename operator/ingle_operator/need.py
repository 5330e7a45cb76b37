"""What an engine's pod was made to hold, and how deep it sleeps by now: from its own annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.names import ANNOTATION_LEVEL, ANNOTATION_PLACEMENT

_UNITS_MIB = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


@dataclass(frozen=True)
class Need:
    """What the engine was placed with, from its own annotation: MiB and W per GPU, host MiB per replica.

    A pool may have changed since; what a running engine takes and which kind it is has not.
    `engine`: empty for one that was made before there were kinds. `lowered`: it slept with its weights in host memory
    once, and does so no more; `requested_mib`: of host memory, from Kubernetes.
    """

    awake_mib: int
    asleep_mib: int
    host_mib: int
    busy_w: int
    engine: str = ""
    level: Level = Level.L1
    lowered: bool = False
    requested_mib: int | None = None


def need_of(annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Need:
    """Raises ValueError or KeyError for a pod that does not say what it needs."""
    placement = orjson.loads(annotations.get(ANNOTATION_PLACEMENT, ""))
    memory = placement["memoryMiB"]
    made_for = level_of(str(placement.get("level") or ""))
    level = level_of(annotations.get(ANNOTATION_LEVEL, made_for))
    lowered = level is not made_for
    return Need(
        int(memory["awake"]),
        int(memory["asleep"]),
        0 if lowered else int(memory.get("host") or 0),
        int(placement["watts"]),
        str(placement.get("engine") or ""),
        level,
        lowered,
        _requested_mib(spec),
    )


def _requested_mib(spec: Mapping[str, Any]) -> int | None:
    """Host memory that its container asks for, None where it is not as the API server writes whole MiB."""
    requests = (spec["containers"][0].get("resources") or {}).get("requests") or {}
    text = str(requests.get("memory", ""))
    number, unit = text[:-2], _UNITS_MIB.get(text[-2:])
    return int(number) * unit if unit and number.isdigit() else None
