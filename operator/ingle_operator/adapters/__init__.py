"""Kinds of engines: how each is started, put to sleep, woken and asked. One module a kind, one line in the table."""

from __future__ import annotations

from typing import Final

from ingle_operator.adapters.adapter import SILENT, Adapter, EngineWord, Kind, Outcome
from ingle_operator.adapters.calls import Calls
from ingle_operator.adapters.custom import Custom
from ingle_operator.adapters.sglang import SGLang
from ingle_operator.adapters.spare import Spare
from ingle_operator.adapters.vllm import VLLM

ADAPTERS: Final[dict[str, Kind]] = {"VLLM": VLLM(), "SGLang": SGLang(), "Custom": Custom()}
SPARES: Final[dict[str, Adapter]] = {
    kind: Spare(engine) for kind, engine in ADAPTERS.items() if engine.module
}

__all__ = ["ADAPTERS", "SILENT", "SPARES", "Adapter", "Calls", "EngineWord", "Kind", "Outcome"]
