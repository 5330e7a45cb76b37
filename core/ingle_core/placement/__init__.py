"""Where a pod lands: node, GPUs and NUMA zone, with reasons."""

from ingle_core.placement.ask import Ask, AskMemory, GpuAnnotation, ask_from_amount, ask_from_annotation
from ingle_core.placement.context import NOTHING_ELSE, Context
from ingle_core.placement.rank import SILENT_AFTER_S, Ranking, rank
from ingle_core.placement.reasons import NAMES, RESERVED_ELSEWHERE, TEXTS, Reason
from ingle_core.placement.view import Assumed

__all__ = [
    "NAMES",
    "NOTHING_ELSE",
    "RESERVED_ELSEWHERE",
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
