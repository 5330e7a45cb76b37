"""Where a pod lands: node, GPUs and NUMA zone, with reasons."""

from ingle_core.placement.ask import Ask, AskMemory, GpuAnnotation, ask_from_amount, ask_from_annotation
from ingle_core.placement.context import Context
from ingle_core.placement.rank import SILENT_AFTER_S, Ranking, rank
from ingle_core.placement.reasons import NAMES, TEXTS, Reason
from ingle_core.placement.view import Assumed

__all__ = [
    "NAMES",
    "SILENT_AFTER_S",
    "TEXTS",
    "Ask",
    "AskMemory",
    "Assumed",
    "Context",
    "GpuAnnotation",
    "Ranking",
    "Reason",
    "ask_from_amount",
    "ask_from_annotation",
    "rank",
]
