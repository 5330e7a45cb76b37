"""What the operator needs of a kind of engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ingle_core.warmpool.tiers import Level
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_operator.adapters.calls import Calls


class Outcome(Enum):
    """What came of a call that changes an engine."""

    DONE = "it is so"
    REFUSED = "it answered with an error"
    UNKNOWN = "no answer in time: look what it says of itself"
    BUSY = "not called, since requests run in it"


@dataclass(frozen=True)
class EngineWord:
    """What the engine says of itself. `asleep` None: it did not answer. `running`: requests that run or wait in it."""

    asleep: bool | None
    running: int = 0


SILENT = EngineWord(None)


class Adapter(Protocol):
    """How an engine that runs is asked, put to sleep and woken.

    `tells_sleep` False: it does not say whether it sleeps, and `word` gives only whether it lives (asleep False).
    `probe_fields`: fields of a completion request that make it answer with all the tokens asked for.
    """

    @property
    def can_sleep(self) -> bool: ...

    @property
    def tells_sleep(self) -> bool: ...

    @property
    def probe_fields(self) -> Mapping[str, object]: ...

    async def word(self, calls: Calls, count: bool) -> EngineWord:
        """Whether it sleeps and, if `count`, how many requests it has. Raises ValueError for an answer that is not its."""

    async def sleep(self, calls: Calls, level: Level) -> Outcome:
        """To sleep. Safe to repeat while `word` says that it is awake."""

    async def wake(self, calls: Calls, level: Level) -> Outcome:
        """From sleep to an engine that answers right. Safe to repeat from the start while `word` says that it sleeps."""

    async def refresh(self, calls: Calls) -> Outcome:
        """Drops what an engine that is awake may still believe of memory it has lost."""


class Kind(Adapter, Protocol):
    """One kind of engine, and how it is started.

    `lowers`: one that was started for level 1 sleeps at level 2 as well. `command`: what its image has to be told to run;
    empty: what it runs by itself. `module`: what `python3 -m` runs of it, for `warm.level: Spare`, empty where it cannot be
    a spare; `also`: what else of it is imported ahead, as far as it is there; `spare_env`: what more it is told there.
    """

    @property
    def lowers(self) -> bool: ...

    @property
    def command(self) -> tuple[str, ...]: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    @property
    def module(self) -> str: ...

    @property
    def also(self) -> tuple[str, ...]: ...

    @property
    def spare_env(self) -> Mapping[str, str]: ...

    def arguments(self, spec: InferencePoolSpec, variant: Variant) -> list[str]:
        """Arguments at start, before the user's own."""

    async def running(self, calls: Calls) -> int:
        """Requests that run or wait in one that is awake; 0 where it is asked in another way. Raises ValueError."""

    async def idle(self, calls: Calls) -> bool:
        """Whether nothing runs in one that is awake, by its own word; False where it says nothing."""
