"""MIG instances of a GPU, from NVML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pynvml

from ingle_agent.device import GpuShape
from ingle_agent.nvmltopology import text_of


def instances_of(handle: Any, whole: GpuShape) -> list[tuple[Any, GpuShape]]:
    """Handle and shape of each instance of the GPU `whole`, which is in MIG mode. Raises NVMLError.

    Place and zone are the GPU's. Watts and links are not an instance's: power is limited for the GPU as a whole.
    """
    found = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except pynvml.NVMLError_NotFound:
            continue
        shape = replace(
            whole,
            uuid=text_of(pynvml.nvmlDeviceGetUUID(part)),
            product=text_of(pynvml.nvmlDeviceGetName(part)),
            nvlink_peers=(),
            min_w=0,
            max_w=0,
            default_w=0,
            mig=False,
            parent=whole.uuid,
        )
        found.append((part, shape))
    return found
