"""`rank`: a pod and all nodes → the best node, its GPUs, and a reason for every other node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ingle_core.facts import Columns
from ingle_core.placement.ask import Ask
from ingle_core.placement.choose import Choice, choose
from ingle_core.placement.filters import GPU_FILTERS, NODE_FILTERS
from ingle_core.placement.reasons import TEXTS, Reason
from ingle_core.placement.scorers import gpu_scores, node_scores
from ingle_core.placement.view import Array, Assumed, View

SILENT_AFTER_S: Final = 90.0
_TEXT_BY_CODE: Final = [TEXTS[reason] for reason in Reason]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The decision. `node` None: nothing fits. `verdicts` holds a Reason per row of the columns."""

    node: str | None
    gpus: tuple[str, ...]
    host_zone: int | None
    score: float
    verdicts: Array
    rows: dict[str, int] = field(repr=False)
    counts: dict[Reason, int] = field(default_factory=dict)  # offered nodes by reason, without the chosen one

    def reason(self, name: str) -> Reason:
        """Why the node `name` was not taken, or FITS for the one that was."""
        row = self.rows.get(name)
        return Reason.NOT_MANAGED if row is None else Reason(int(self.verdicts[row]))

    def refused(self, names: Iterable[str]) -> dict[str, str]:
        """The fixed text for each node of `names` but the chosen one."""
        codes = self.verdicts.tolist()
        row_of, unmanaged = self.rows.get, TEXTS[Reason.NOT_MANAGED]
        texts = [_TEXT_BY_CODE[code] for code in codes]
        found = {n: unmanaged if (row := row_of(n)) is None else texts[row] for n in names}
        if self.node is not None:
            found.pop(self.node, None)
        return found


def rank(
    ask: Ask,
    columns: Columns,
    node_names: Sequence[str] | None = None,
    assumed: Sequence[Assumed] = (),
    *,
    now_s: float,
    silent_after_s: float = SILENT_AFTER_S,
) -> Ranking:
    """Chooses a node and GPUs for `ask` among `node_names` (None: all).

    `assumed`: choices for other pods that no ledger shows yet. A node whose agent was last heard more than
    `silent_after_s` before `now_s` takes nothing new. Deterministic: same input, same choice.
    """
    view = View(ask, columns, assumed, now_s=now_s, silent_after_s=silent_after_s)
    offered = _offered(columns, node_names)
    verdicts, passed = _filtered(view, offered)
    per_gpu = gpu_scores(view)
    scores = np.where(verdicts == Reason.FITS, node_scores(view, passed, per_gpu), -1.0)
    row, choice = _best(view, verdicts, passed, per_gpu, scores)
    if row is None or choice is None:
        return Ranking(None, (), None, 0.0, verdicts, columns.row, _counts(verdicts, offered, node_names))
    verdicts[verdicts == Reason.FITS] = Reason.OUTRANKED
    verdicts[row] = Reason.FITS
    name = columns.names[row]
    gpus = tuple(columns.facts[name].gpus[i].uuid for i in choice.places)
    counts = _counts(verdicts, offered, node_names)
    return Ranking(name, gpus, choice.host_zone, float(scores[row]), verdicts, columns.row, counts)


def _offered(columns: Columns, node_names: Sequence[str] | None) -> Array:
    live: Array = columns.node["live"][: columns.rows]
    if node_names is None:
        return live
    offered = np.zeros(columns.rows, dtype=np.bool_)
    row_of = columns.row.get
    offered[[row for name in node_names if (row := row_of(name)) is not None]] = True
    return offered & live


def _counts(verdicts: Array, offered: Array, node_names: Sequence[str] | None) -> dict[Reason, int]:
    found = {
        Reason(i): int(n) for i, n in enumerate(np.bincount(verdicts[offered])) if n and i != Reason.FITS
    }
    unmanaged = 0 if node_names is None else len(node_names) - int(np.count_nonzero(offered))
    return found | ({Reason.NOT_MANAGED: unmanaged} if unmanaged else {})


def _filtered(view: View, offered: Array) -> tuple[Array, Array]:
    """A Reason per row (NOT_MANAGED where not offered), and the GPUs that passed every filter."""
    verdicts = np.where(offered, Reason.FITS, Reason.NOT_MANAGED).astype(np.int8)
    passed: Array = offered & (view.gpu["allocatable_mib"] > 0)
    for reason, node_filter in NODE_FILTERS:
        verdicts[(verdicts == 0) & ~node_filter(view, passed)] = reason
    for reason, gpu_filter in GPU_FILTERS:
        passed = passed & gpu_filter(view, passed)
        verdicts[(verdicts == 0) & (passed.sum(axis=0, dtype=np.int8) < view.ask.gpus)] = reason
    return verdicts, passed


def _best(
    view: View, verdicts: Array, passed: Array, per_gpu: Array, scores: Array
) -> tuple[int | None, Choice | None]:
    """The best row whose GPUs can be chosen; a row that fails there gets its reason and the next is tried."""
    order = view.columns.name_order()
    for _ in range(len(scores)):
        ties = np.flatnonzero((scores == scores.max()) & (scores >= 0))
        if not len(ties):
            break
        idle = view.node["idle_mib"][ties]
        least = ties[idle == idle.min()]
        row = int(least[np.argmin(order[least])])
        choice = choose(view, row, passed, per_gpu)
        if isinstance(choice, Choice):
            return row, choice
        verdicts[row], scores[row] = choice, -1.0
    return None, None
