"""Give GPUs back the limits they had before the agent: for uninstalling."""

from __future__ import annotations

import math

from ingle_agent.device import Device, DeviceError
from ingle_agent.journal import Journal


def restore(device: Device, journal: Journal) -> list[str]:
    """Writes every earlier limit that the journal knows and forgets those read back. Returns what is left, why."""
    shapes = {shape.uuid: shape for shape in device.shapes()}
    left = []
    for uuid, watts in sorted(journal.previous.items()):
        if watts is None:
            left.append(f"{uuid}: its earlier limit is not known; set it with nvidia-smi -pl")
        elif uuid not in shapes:
            left.append(f"{uuid}: not found on this node")
        else:
            try:
                device.set_limit(uuid, min(shapes[uuid].max_w, max(shapes[uuid].min_w, watts)))
            except DeviceError as error:
                left.append(str(error))
    limits = {
        sample.uuid: math.ceil(sample.limit_w) for sample in device.samples() if sample.health == "Healthy"
    }
    journal.forget({uuid for uuid, watts in journal.previous.items() if limits.get(uuid) == watts})
    known = [uuid for uuid, watts in journal.previous.items() if watts is not None]
    return left or [f"{uuid}: its earlier limit was written and not taken" for uuid in known]
