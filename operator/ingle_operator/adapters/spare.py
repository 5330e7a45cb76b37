"""An engine of any kind under the spare launcher (`ingle-spare`): asleep, there is a process for it and no engine.

The launcher says what is, and bears the same call twice: a load that is under way is waited for, not begun again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from ingle_core.warmpool.tiers import Level
from ingle_operator.adapters.adapter import EngineWord, Kind, Outcome
from ingle_operator.adapters.calls import Calls
from ingle_operator.adapters.vllm import outcome_of

PORT_MAX: Final = 65535
_ASLEEP: Final = {"Spare": True, "Loaded": False}


def launcher_port(engine_port: int) -> int:
    """Where the launcher listens: beside the engine."""
    return engine_port + 1 if engine_port < PORT_MAX else engine_port - 1


@dataclass(frozen=True)
class Spare:
    """`engine`: what is loaded."""

    engine: Kind
    can_sleep: bool = True
    tells_sleep: bool = True

    @property
    def probe_fields(self) -> Mapping[str, object]:
        return self.engine.probe_fields

    async def word(self, calls: Calls, count: bool) -> EngineWord:
        """Neither asleep nor awake while an engine loads or ends."""
        asleep = _ASLEEP.get(orjson.loads(await _launcher(calls).text("/state"))["state"])
        return EngineWord(asleep, await self.engine.running(calls) if count and asleep is False else 0)

    async def sleep(self, calls: Calls, level: Level) -> Outcome:
        if not await self.engine.idle(calls):
            return Outcome.BUSY
        return outcome_of(await _launcher(calls).post("/unload", slow=True))

    async def wake(self, calls: Calls, level: Level) -> Outcome:
        return outcome_of(await _launcher(calls).post("/load", slow=True))

    async def refresh(self, calls: Calls) -> Outcome:
        """A new process remembers nothing."""
        return Outcome.DONE


def _launcher(calls: Calls) -> Calls:
    engine, _, port = calls.address.rpartition(":")
    return replace(calls, address=f"{engine}:{launcher_port(int(port))}")
