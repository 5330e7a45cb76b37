"""One writer of nodes' ledgers: one PATCH at a time per node, and what waits meanwhile goes out together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ingle_core.ledger import Ledger, LedgerError, applied, difference, fits, shortfall
from ingle_kit.kube import Conflict, Invalid, Kube, KubeError, NotFound, Object
from ingle_kit.ledger import Jitter, Plan, Refused, Written, of_same_object, write
from ingle_kit.names import GPU_NODE

TOGETHER_MAX = 64


@dataclass(eq=False)
class _Entry:
    """A change that somebody waits for; it is done when it has an outcome or an error."""

    plan: Plan
    outcome: Written | Refused | None = None
    error: KubeError | None = None

    @property
    def done(self) -> bool:
        return self.outcome is not None or self.error is not None

    def result(self) -> Written | Refused:
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


class LedgerWriter:
    """Writes changes of this process. Only another process can collide with them.

    `current(node)` is the newest GPUNode that the caller knows, `on_written(node, obj)` hears of every newer one.
    `attempts` and `jitter` are those of `ingle_kit.ledger.write`.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        current: Callable[[str], Object | None],
        on_written: Callable[[str, Object], None],
        attempts: int = 5,
        jitter: Jitter | None = None,
    ) -> None:
        self._kube, self._current, self._on_written = kube, current, on_written
        self._attempts, self._jitter = attempts, jitter
        self._waiting: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def write(self, node: str, plan: Plan) -> Written | Refused:
        """The outcome of one change. Raises a KubeError when it may or may not have been made."""
        entry = _Entry(plan)
        self._waiting[node].append(entry)
        try:
            async with self._lock(node):
                if not entry.done:
                    await self._flush(node, entry)
        finally:
            self._forget(node, entry)
        return entry.result()

    async def _flush(self, node: str, mine: _Entry) -> None:
        """Writes my change and up to `TOGETHER_MAX` that wait; those left over when cancelled wait for the next."""
        others = [entry for entry in self._waiting[node] if entry is not mine and not entry.done]
        batch = [mine, *others[: TOGETHER_MAX - 1]]
        for entry in await self._together(node, batch):
            await self._alone(node, entry)

    async def _together(self, node: str, batch: list[_Entry]) -> list[_Entry]:
        """One PATCH for all changes that fit one after the other. Returns those that have to go alone."""
        obj = self._current(node)
        if len(batch) < 2 or obj is None:
            return batch
        try:
            before = Ledger.from_dict(obj.get("spec") or {})
        except ValueError:
            return batch
        after, joined = _joined(before, batch)
        if len(joined) < 2 or shortfall(before, after) is not None:
            return batch
        try:
            ops = of_same_object(obj, difference(before, after))
            written = await self._kube.json_patch(GPU_NODE, node, ops)
        except (Conflict, Invalid, NotFound):
            return batch
        except KubeError as error:
            for entry in joined:
                entry.error = error
        else:
            self._on_written(node, written)
            done = Written(written, Ledger.from_dict(written["spec"]), changed=True)
            for entry in joined:
                entry.outcome = done
        return [entry for entry in batch if not entry.done]

    async def _alone(self, node: str, entry: _Entry) -> None:
        try:
            entry.outcome = await write(
                self._kube,
                node,
                entry.plan,
                attempts=self._attempts,
                current=self._current(node),
                jitter=self._jitter,
            )
        except KubeError as error:
            entry.error = error
            return
        if isinstance(entry.outcome, Written):
            self._on_written(node, entry.outcome.obj)

    def _lock(self, node: str) -> asyncio.Lock:
        lock = self._locks.get(node)
        if lock is None:
            lock = self._locks[node] = asyncio.Lock()
        return lock

    def _forget(self, node: str, entry: _Entry) -> None:
        waiting = self._waiting[node]
        waiting.remove(entry)
        if not waiting:
            del self._waiting[node]


def _joined(before: Ledger, batch: list[_Entry]) -> tuple[Ledger, list[_Entry]]:
    """The ledger after every change that fits, in order, and whose those are."""
    after, joined = before, []
    for entry in batch:
        try:
            ops = entry.plan(after)
        except LedgerError:
            continue
        if ops and fits(after, ops) is None:
            after = applied(after, ops)
            joined.append(entry)
    return after, joined
