"""Facts that decisions look at: frozen records, and columns over all nodes."""

from ingle_core.facts.columns import Columns
from ingle_core.facts.gpunode import (
    GpuFacts,
    GpuMemory,
    GpuNode,
    GpuNodeFacts,
    GpuStatus,
    NodeStatus,
    Resident,
    ZoneFacts,
    memory_headroom_mib,
    node_facts,
)

__all__ = [
    "Columns",
    "GpuFacts",
    "GpuMemory",
    "GpuNode",
    "GpuNodeFacts",
    "GpuStatus",
    "NodeStatus",
    "Resident",
    "ZoneFacts",
    "memory_headroom_mib",
    "node_facts",
]
