"""Keeps GPUNode.status of this node up to date, and hands the ledger to the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ingle_agent.hub import Hub
from ingle_agent.ledger import Ledger, ledger_of
from ingle_agent.loop import Snapshot
from ingle_agent.numa import zones
from ingle_agent.podresources import Holding
from ingle_agent.status import status_of, worth_writing, worth_writing_later
from ingle_kit.kube import Kube, KubeError
from ingle_kit.names import GPU_NODE
from ingle_kit.objects import Disk, GPUNodeStatus, WarmItem, dump, with_condition
from ingle_kit.watch import Key, Reflector

FIELD_MANAGER = "ingle-agent"
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 5.0
LATER_S = 1.0

log = logging.getLogger(__name__)


class Reporter:
    """Writes what decisions wait for at once, limits at most once in `LATER_S`, else a heartbeat.

    Waits until the GPUNode exists.
    """

    def __init__(
        self,
        kube: Kube,
        hub: Hub,
        *,
        node: str,
        boot_id: str,
        numa_root: Path,
        heartbeat_s: float,
        foreign_mib: int,
        deadline_s: float,
        on_ledger: Callable[[Ledger], None],
        wrong_zone: Callable[[], Collection[str]],
        warm: Callable[[], tuple[list[WarmItem], Disk | None]],
        holding: Callable[[], Holding | None],
    ) -> None:
        self._kube, self._hub, self._node, self._boot_id = kube, hub, node, boot_id
        self._numa_root, self._heartbeat_s, self._foreign_mib = numa_root, heartbeat_s, foreign_mib
        self._deadline_s, self._on_ledger = deadline_s, on_ledger
        self._wrong_zone, self._warm, self._holding = wrong_zone, warm, holding
        self._written: GPUNodeStatus | None = None
        self._written_at_s = 0.0
        self._due = asyncio.Event()
        self._later = False
        self.writes = 0
        self.reflector: Reflector[Ledger] = Reflector(
            kube, GPU_NODE, decode=ledger_of, field_selector=f"metadata.name={node}", on_change=self._changed
        )

    def _changed(self, key: Key, old: Ledger | None, new: Ledger | None) -> None:
        """A deleted GPUNode changes no limit: what was asked last stays until there is a new ledger."""
        if new is None or (old is not None and old.uid != new.uid):
            self._written = None
        if new is not None:
            self._on_ledger(new)
        self._due.set()

    def look(self) -> None:
        """There is a new snapshot."""
        self._due.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        pause_s = PAUSE_MIN_S
        while True:
            await self._wait()
            try:
                await self._write_if_due()
                pause_s = PAUSE_MIN_S
            except KubeError as error:
                log.warning("GPUNode %s: status not written: %s; again in %.1f s", self._node, error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)
                self._due.set()

    async def _wait(self) -> None:
        pause_s = LATER_S if self._later else self._heartbeat_s
        left_s = self._written_at_s + pause_s - time.monotonic()
        try:
            async with asyncio.timeout(max(PAUSE_MIN_S, left_s)):
                await self._due.wait()
        except TimeoutError:
            pass  # the heartbeat is due, or what could wait
        self._due.clear()

    async def _write_if_due(self) -> None:
        snapshot = self._hub.snapshot
        if snapshot is None or ("", self._node) not in self.reflector.store:
            return
        new = self._status(snapshot)
        if not self._is_due(new):
            return
        new = new.model_copy(update={"numa": await asyncio.to_thread(zones, self._numa_root)})
        body = {
            "apiVersion": GPU_NODE.api_version,
            "kind": GPU_NODE.kind,
            "metadata": {"name": self._node},
            "status": dump(new),
        }
        await self._kube.apply(GPU_NODE, body, manager=FIELD_MANAGER, subresource="status", force=True)
        self._written, self._written_at_s = new, time.monotonic()
        self.writes += 1

    def _is_due(self, new: GPUNodeStatus) -> bool:
        """Sets `_later` where it is due only after a while."""
        age_s = time.monotonic() - self._written_at_s
        self._later = False
        if self._written is None or age_s >= self._heartbeat_s:
            return True
        if worth_writing(self._written, new, self._foreign_mib):
            return True
        changed = worth_writing_later(self._written, new)
        self._later = changed and age_s < LATER_S
        return changed and not self._later

    def _status(self, snapshot: Snapshot) -> GPUNodeStatus:
        """Without NUMA zones, whose free memory is read only for a write."""
        stale = self._hub.reading_age_s() > self._deadline_s
        new = status_of(snapshot, self._boot_id, time.time(), stale, self._wrong_zone(), self._holding())
        items, disk = self._warm()
        new = new.model_copy(update={"warm": items, "disk_mib": disk})
        if self._written is None:
            return new
        conditions = self._written.conditions
        for condition in new.conditions:
            conditions = with_condition(conditions, condition)
        return new.model_copy(update={"conditions": conditions})
