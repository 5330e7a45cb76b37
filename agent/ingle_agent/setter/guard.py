"""What the setter refuses, whoever asks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ingle_agent.device import GpuShape
from ingle_agent.setter.wire import SetLimit

AHEAD_MAX_S = 30.0


def refusal(request: SetLimit, shapes: Iterable[GpuShape], now_s: float) -> str:
    """Why this limit is not set; empty: set it. `now_s` is monotonic."""
    shape = next((shape for shape in shapes if shape.uuid == request.uuid), None)
    if shape is None:
        return f"{request.uuid} is no GPU of this node"
    if shape.parent or not shape.max_w:
        return f"{request.uuid} has no power limit of its own"
    if not shape.min_w <= request.watts <= shape.max_w:
        return f"{request.watts} W is outside {shape.min_w} to {shape.max_w} W of {request.uuid}"
    if now_s > request.until_s:
        return f"asked too long ago for {request.uuid}"
    if request.until_s > now_s + AHEAD_MAX_S:
        return f"asked for {request.uuid} by another clock"
    return ""


def given_back(previous: Mapping[str, int | None], limits_w: Mapping[str, int]) -> set[str]:
    """GPUs that have the limit again that they had before us: there is nothing left to remember of them."""
    return {uuid for uuid, watts in previous.items() if watts is not None and limits_w.get(uuid) == watts}
