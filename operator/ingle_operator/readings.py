"""What of an agent's measurement decides whether something is looked at again."""

from __future__ import annotations

from ingle_kit.streams import Measurement


def limits_in(measurement: Measurement) -> object:
    """Limits in force, health, and whose ledger they follow."""
    return [(g.uuid, g.enforced_w, g.health) for g in measurement.gpus], measurement.observed_revision


def memory_in(measurement: Measurement) -> dict[str, list[tuple[str, int]]]:
    """What each pod holds, by GPU."""
    held: dict[str, list[tuple[str, int]]] = {}
    for gpu in measurement.gpus:
        for process in gpu.processes:
            held.setdefault(process.pod_uid, []).append((gpu.uuid, process.memory_mib))
    return held
