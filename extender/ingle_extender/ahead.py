"""Work done before a pod asks: what follows from pools and profiles for every GPU, so that a filter call need not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from ingle_core.placement import Ask, AskMemory, Assumed
from ingle_core.placement.pools import Pools
from ingle_core.placement.view import View
from ingle_extender.nodes import Nodes

ANYTHING: Final = Ask(AskMemory(awake=1))
ROWS_A_STEP: Final = 32
"""About 4 ms: a pod that asks meanwhile waits no longer than that."""
BEHIND_MOST: Final = 100
"""Rows that a filter call computes itself without noticing, for its shape of engine."""


class Ahead:
    """Runs beside the calls, in steps between them; `done` once it had nothing left to do."""

    def __init__(
        self,
        nodes: Nodes,
        pools: Pools,
        *,
        assumed: Callable[[], Sequence[Assumed]],
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._pools, self._assumed = nodes, pools, assumed
        self._every_s, self._clock = every_s, clock
        self.done = asyncio.Event()

    async def run(self) -> None:
        """As long as the process lives."""
        while True:
            more = self.step()
            if not more:
                self.done.set()
            await asyncio.sleep(0.0 if more else self._every_s)

    def step(self) -> bool:
        """Some of what is left; False: nothing was. A new mix may take 50 ms once, all else a few."""
        conflicts = self._pools.conflicts
        if conflicts.take_over(self._nodes.columns, ROWS_A_STEP):
            return True
        fragmentation = self._pools.context(self._clock()).fragmentation
        if fragmentation is None:
            return False
        fragmentation.take_over(self._view(ANYTHING))
        for ask in self._pools.asks():
            if fragmentation.behind(ask) > BEHIND_MOST:
                fragmentation.gpu_scores(self._view(ask))
                return True
            if conflicts.behind(ask) > BEHIND_MOST:
                conflicts.scores(self._view(ask))
                return True
        return False

    def _view(self, ask: Ask) -> View:
        """As `rank` sees the nodes; which of them are silent does not matter here."""
        return View(ask, self._nodes.columns, self._assumed(), now_s=0.0, silent_after_s=0.0)
