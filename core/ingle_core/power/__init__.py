"""Watts: a budget split over nodes, an allotment split over the GPUs of one node. Pure; whole watts."""

from ingle_core.power.caps import Caps, GpuPower, caps
from ingle_core.power.reasons import Reason
from ingle_core.power.split import Allotment, NodePower, Split, split
from ingle_core.power.step import CapState, CapWrite, Step, step
from ingle_core.power.trail import Trail, follow, held_w

__all__ = [
    "Allotment",
    "CapState",
    "CapWrite",
    "Caps",
    "GpuPower",
    "NodePower",
    "Reason",
    "Split",
    "Step",
    "Trail",
    "caps",
    "follow",
    "held_w",
    "split",
    "step",
]
