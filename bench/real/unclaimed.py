"""The extender with claims kept in memory only: shows what the claim's own write costs. For the benchmark alone."""

from __future__ import annotations

import asyncio

import uvloop
from msgspec.structs import replace

from ingle_core.ledger import LedgerError, applied, fits
from ingle_extender.extender import Extender
from ingle_extender.main import serve
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.settings import Settings
from ingle_kit.kube import Kube
from ingle_kit.ledger import Plan, Refused, Written


class InMemory:
    """Applies changes to what the extender knows of a node; the API server never hears of them."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def write(self, node: str, plan: Plan) -> Written | Refused:
        """As `LedgerWriter.write`."""
        seen = self._nodes.seen(node)
        if seen is None:
            return Refused("NoGPUNode", f"there is no GPUNode {node}")
        ledger = seen.node.spec
        try:
            ops = plan(ledger)
        except LedgerError as error:
            return Refused(error.reason, str(error))
        short = fits(ledger, ops)
        if short is not None:
            return Refused(short.reason, short.message, short.field)
        after = applied(ledger, ops)
        unknown = replace(seen.node.metadata, resource_version="")  # else it is taken for what is there
        self._nodes.take(node, Seen(seen.obj, replace(seen.node, metadata=unknown, spec=after)))
        return Written(seen.obj, after, changed=bool(ops))


class Unclaimed(Extender):
    """Filters and binds as ever; writes no claim."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        super().__init__(kube, settings)
        self.binding.ledgers = InMemory(self.nodes)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Settings(), make=Unclaimed))
