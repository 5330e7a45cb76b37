"""The nodes' ledgers: read from the cache or our own last write, changed through one writer."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingle_core.ledger import Ledger, Op
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Refused, Written
from ingle_kit.ledgerwriter import LedgerWriter
from ingle_kit.objects import timestamp
from ingle_kit.watch import Reflector
from ingle_operator.giveway import with_reserved
from ingle_operator.notes import Notes
from ingle_operator.parse import GpuNode


class Ledgers:
    """What is decided next sees our own last write, though the cache lags behind it."""

    def __init__(self, kube: Kube, gpu_nodes: Reflector[GpuNode], notes: Notes) -> None:
        self._gpu_nodes, self._notes = gpu_nodes, notes
        self._written: dict[str, Object] = {}
        self._decoded: dict[str, tuple[Object, Ledger]] = {}
        self._writer = LedgerWriter(kube, current=self.gpu_node, on_written=self._took)

    def gpu_node(self, node: str) -> Object | None:
        """The newest GPUNode we know, None where the cache has none."""
        cached = self._gpu_nodes.store.get(("", node))
        if cached is None:
            return None
        written = self._written.get(node)
        if written is None or written["metadata"]["uid"] != cached.raw["metadata"]["uid"]:
            return cached.raw
        newer = written["spec"]["revision"] > cached.raw["spec"].get("revision", 0)
        return written if newer else cached.raw

    def forget(self, node: str) -> None:
        """The GPUNode is gone."""
        self._written.pop(node, None)
        self._decoded.pop(node, None)

    def read(self, node: str) -> Ledger | None:
        """The ledger, None where there is none or it cannot be read."""
        raw = self.gpu_node(node)
        if raw is None:
            return None
        known = self._decoded.get(node)
        if known is None or known[0] is not raw:
            try:
                known = self._decoded[node] = (raw, Ledger.from_dict(raw["spec"]))
            except ValueError:
                return None
        return known[1]

    async def write(self, node: str, plan: Callable[[Ledger], list[Op]], epoch: int) -> Refused | None:
        """Applies a pure change, and with it what is reserved on the node and then fits.

        The refusal, or None when it is in (or was there already).
        """
        kept = [one for one in self._notes.reserved.values() if one.node == node]
        at = timestamp(time.time())
        result = await self._writer.write(
            node, lambda ledger: with_reserved(ledger, plan(ledger), kept, epoch, at)
        )
        for one in kept:
            if isinstance(result, Written) and one.done(result.ledger):
                self._notes.reserved.pop(one.uid, None)
                self._notes.troubles.pop(one.uid, None)
        self._notes.ledger_conflicts += result.conflicts
        return result if isinstance(result, Refused) else None

    def _took(self, node: str, obj: Object) -> None:
        self._written[node] = obj
