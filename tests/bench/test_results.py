"""Rows of a run of some parts stand among those that were there."""

from __future__ import annotations

import json
from collections import Counter

from bench.report import text
from bench.run import RESULTS, merged


def rows(**values: int) -> list[dict[str, object]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def test_other_rows_stay_and_measured_ones_take_their_old_places() -> None:
    assert merged(rows(a=1, b=1, c=1), rows(b=2)) == rows(a=1, b=2, c=1)


def test_a_new_row_comes_after_the_one_that_it_follows() -> None:
    assert merged(rows(a=1, b=1, c=1), rows(b=2, x=2, y=2)) == rows(a=1, b=2, x=2, y=2, c=1)
    assert merged(rows(a=1), rows(x=2, y=2)) == rows(a=1, x=2, y=2)


def test_each_row_that_is_published_has_one_name_and_the_commit_it_was_measured_at() -> None:
    for path in RESULTS.glob("*.json"):
        published = json.loads(path.read_text())["rows"]
        assert max(Counter(row["name"] for row in published).values()) == 1, path.name
        assert all(row["commit"] in text() for row in published)
