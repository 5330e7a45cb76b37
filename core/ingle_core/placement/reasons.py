"""Why a node was not taken: few fixed texts without numbers, since Kubernetes counts nodes by equal text."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reason(IntEnum):
    """In the order in which filters ask; a node has the first that applies."""

    FITS = 0
    NOT_MANAGED = 1
    NODE_NOT_READY = 2
    CORDONED = 3
    AGENT_SILENT = 4
    LEDGER_BEHIND = 5
    WRONG_PRODUCT = 6
    GPU_UNHEALTHY = 7
    INSUFFICIENT_MEMORY = 8
    INSUFFICIENT_WATTS = 9
    TRANSITION_BUSY = 10
    INSUFFICIENT_HOST_MEMORY = 11
    NUMA_SPLIT = 12
    NVLINK_SPLIT = 13
    OUTRANKED = 14


TEXTS: Final[dict[Reason, str]] = {
    Reason.FITS: "fits",
    Reason.NOT_MANAGED: "node has no GPUs managed by Ingle",
    Reason.NODE_NOT_READY: "node is not ready",
    Reason.CORDONED: "node is cordoned",
    Reason.AGENT_SILENT: "node's Ingle agent is silent",
    Reason.LEDGER_BEHIND: "node's ledger lacks an engine that runs there",
    Reason.WRONG_PRODUCT: "too few GPUs of a wanted product",
    Reason.GPU_UNHEALTHY: "too few healthy GPUs",
    Reason.INSUFFICIENT_MEMORY: "too little free GPU memory",
    Reason.INSUFFICIENT_WATTS: "too few watts allotted",
    Reason.TRANSITION_BUSY: "GPUs with room are starting, sleeping, waking or stopping an engine",
    Reason.INSUFFICIENT_HOST_MEMORY: "too little free host memory for a sleeper",
    Reason.NUMA_SPLIT: "no NUMA zone has enough free GPUs",
    Reason.NVLINK_SPLIT: "no NVLink group has enough free GPUs",
    Reason.OUTRANKED: "another node was chosen",
}
NAMES: Final[dict[Reason, str]] = {reason: reason.name.title().replace("_", "") for reason in Reason}
RESERVED_ELSEWHERE: Final = "pod has its GPUs reserved on another node"  # of nodes that are not the pod's own
