"""Names that nodes have, each with the set of its rows: who has what, asked by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowSets:
    """Names by row and rows by name. As large as what the rows have together; a name that no row has is forgotten."""

    def __init__(self) -> None:
        self._names: dict[int, frozenset[str]] = {}
        self._rows: dict[str, set[int]] = {}

    def put(self, row: int, names: frozenset[str]) -> None:
        """Row `row` has exactly these names from now on."""
        old = self._names.get(row, frozenset())
        if old == names:
            return
        for name in old - names:
            rows = self._rows[name]
            rows.discard(row)
            if not rows:
                del self._rows[name]
        for name in names - old:
            self._rows.setdefault(name, set()).add(row)
        if names:
            self._names[row] = names
        else:
            del self._names[row]

    def rows(self, name: str) -> frozenset[int]:
        """The rows that have this name."""
        return frozenset(self._rows.get(name, ()))

    def mask(self, name: str, rows: int) -> NDArray[Any]:
        """True for each of the first `rows` rows that has this name."""
        found = np.zeros(rows, dtype=np.bool_)
        here = self._rows.get(name)
        if here:
            found[np.fromiter(here, dtype=np.intp, count=len(here))] = True
        return found
