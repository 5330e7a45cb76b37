"""Any container that answers GET /health with 200: started and stopped, never put to sleep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ingle_core.warmpool.tiers import Level
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_operator.adapters.adapter import SILENT, EngineWord, Outcome
from ingle_operator.adapters.calls import Calls


class Custom:
    """Its image and the user's arguments, as they are."""

    can_sleep: ClassVar[bool] = False
    tells_sleep: ClassVar[bool] = True
    lowers: ClassVar[bool] = False
    command: ClassVar[tuple[str, ...]] = ()
    env: ClassVar[Mapping[str, str]] = {}
    probe_fields: ClassVar[Mapping[str, object]] = {}
    module: ClassVar[str] = ""
    also: ClassVar[tuple[str, ...]] = ()
    spare_env: ClassVar[Mapping[str, str]] = {}

    def arguments(self, spec: InferencePoolSpec, variant: Variant) -> list[str]:
        return []

    async def word(self, calls: Calls, count: bool) -> EngineWord:
        return EngineWord(False) if await calls.status("/health") == 200 else SILENT

    async def running(self, calls: Calls) -> int:
        return 0

    async def idle(self, calls: Calls) -> bool:
        return True

    async def sleep(self, calls: Calls, level: Level) -> Outcome:
        return Outcome.REFUSED

    async def wake(self, calls: Calls, level: Level) -> Outcome:
        return Outcome.REFUSED

    async def refresh(self, calls: Calls) -> Outcome:
        return Outcome.DONE
