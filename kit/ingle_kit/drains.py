"""When a Node is to be left: cordoned by somebody, or its GPU driver is being upgraded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LABEL_DRIVER_UPGRADE: Final = "nvidia.com/gpu-driver-upgrade-state"  # written by NVIDIA's GPU operator
_UPGRADE_OVER: Final = ("", "upgrade-done")


def drains(unschedulable: bool, labels: Mapping[str, str]) -> bool:
    """Whether the node takes nothing new; `unschedulable` is its `spec.unschedulable`."""
    return unschedulable or labels.get(LABEL_DRIVER_UPGRADE, "") not in _UPGRADE_OVER
