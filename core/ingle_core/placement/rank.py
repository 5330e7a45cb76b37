"""`rank`: a pod and all nodes → the best node, its GPUs, and a reason for every other node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ingle_core.facts import Columns
from ingle_core.placement.ask import Ask
from ingle_core.placement.choose import Choice, choose
from ingle_core.placement.context import NOTHING_ELSE, Context
from ingle_core.placement.filters import GPU_FILTERS, NODE_FILTERS
from ingle_core.placement.reasons import TEXTS, Reason
from ingle_core.placement.scorers import gpu_scores, node_scores
from ingle_core.placement.view import Array, Assumed, View

SILENT_AFTER_S: Final = 90.0
_TEXT_BY_CODE: Final = [TEXTS[reason] for reason in Reason]
# plain numbers: numpy takes some 5 µs to find out that an enum's member is one
_FITS, _OUTRANKED, _NOT_MANAGED = map(int, (Reason.FITS, Reason.OUTRANKED, Reason.NOT_MANAGED))


@dataclass(frozen=True, slots=True)
class Ranking:
    """The decision. `node` None: nothing fits. `counts`: offered nodes by reason, without the chosen one.

    `verdicts` has a Reason per row of the columns and a last one for names without a row.
    """

    node: str | None
    gpus: tuple[str, ...]
    host_zone: int | None
    score: float
    counts: dict[Reason, int]
    verdicts: Array = field(repr=False)
    rows: dict[str, int] = field(repr=False)
    offer: _Offer = field(repr=False)

    def reason(self, name: str) -> Reason:
        """Why the node `name` was not taken, or FITS for the one that was."""
        return Reason(int(self.verdicts[self.rows.get(name, -1)]))

    def refused(self) -> dict[str, str]:
        """The fixed text for each offered node but the chosen one."""
        codes = self.verdicts[self.offer.rows].tolist()
        texts = dict(zip(self.offer.names, map(_TEXT_BY_CODE.__getitem__, codes), strict=True))
        if self.node is not None:
            del texts[self.node]
        return texts


class _Offer(NamedTuple):
    """The nodes that may be chosen: names and their rows, −1 where there is none; and the same as a mask."""

    names: Sequence[str]
    rows: Array
    mask: Array


def rank(
    ask: Ask,
    columns: Columns,
    node_names: Sequence[str] | None = None,
    assumed: Sequence[Assumed] = (),
    *,
    now_s: float,
    silent_after_s: float = SILENT_AFTER_S,
    context: Context = NOTHING_ELSE,
) -> Ranking:
    """Chooses a node and GPUs for `ask` among `node_names` (None: all).

    `assumed`: choices for other pods that no ledger shows yet. A node whose agent was last heard more than
    `silent_after_s` before `now_s` takes nothing new. Deterministic: same input, same choice.
    """
    view = View(ask, columns, assumed, now_s=now_s, silent_after_s=silent_after_s, context=context)
    offer = _offer(columns, node_names)
    verdicts, passed = _filtered(view, offer.mask)
    per_gpu = gpu_scores(view)
    scores = np.where(verdicts == _FITS, node_scores(view, passed, per_gpu), -1.0)
    row, choice = _best(view, verdicts, passed, per_gpu, scores)
    name: str | None = None
    gpus: tuple[str, ...] = ()
    zone, score = None, 0.0
    if row is not None and choice is not None:
        verdicts[verdicts == _FITS] = _OUTRANKED
        verdicts[row] = _FITS
        name, zone, score = columns.names[row], choice.host_zone, float(scores[row])
        gpus = tuple(columns.facts[name].gpus[i].uuid for i in choice.places)
    verdicts = np.append(verdicts, np.int8(_NOT_MANAGED))
    counts = _counts(verdicts[offer.rows])
    return Ranking(name, gpus, zone, score, counts, verdicts, columns.row, offer)


def _offer(columns: Columns, node_names: Sequence[str] | None) -> _Offer:
    names = list(columns.row) if node_names is None else node_names
    rows = columns.rows_of(names)
    mask = np.zeros(columns.rows + 1, dtype=np.bool_)
    mask[rows] = True
    return _Offer(names, rows, mask[:-1])


def _counts(codes: Array) -> dict[Reason, int]:
    return {Reason(i): n for i, n in enumerate(np.bincount(codes).tolist()) if n and i != _FITS}


def _filtered(view: View, offered: Array) -> tuple[Array, Array]:
    """A Reason per row (NOT_MANAGED where not offered), and the GPUs that passed every filter."""
    verdicts = np.where(offered, np.int8(_FITS), np.int8(_NOT_MANAGED))
    passed: Array = offered & (view.gpu["allocatable_mib"] > 0)
    for reason, node_filter in NODE_FILTERS:
        verdicts[(verdicts == _FITS) & ~node_filter(view, passed)] = int(reason)
    judged: Array | None = None
    for reason, gpu_filter in GPU_FILTERS:
        found = gpu_filter(view, passed)
        if found is judged:
            continue  # it has nothing against the GPUs that it was shown
        judged = passed = passed & found
        verdicts[(verdicts == _FITS) & ~_enough(passed, view.ask.gpus)] = int(reason)
    return verdicts, passed


def _enough(passed: Array, count: int) -> Array:
    """Per row: at least `count` GPUs passed."""
    if count == 1:
        return np.asarray(passed.any(axis=0))
    return np.asarray(passed.sum(axis=0, dtype=np.int8) >= count)


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
