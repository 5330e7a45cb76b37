"""How the burst benchmark judges an answer, and which of its rows can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.warmreal.burst import Burst, _outcome, _rows

STREAM = b': waiting\n\ndata: {"choices": [{}]}\n\ndata: [DONE]\n\n'
TOLD = (
    b': waiting\n\n\n\ndata: {"error": {"type": "rate_limit_error", "code": "c", "retry_after": 5}}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize(
    ("status", "headers", "text", "stream", "outcome"),
    [
        (200, {}, b'{"choices": [{}]}', False, "answered"),
        (200, {}, b"{}", False, "an empty answer"),
        (200, {}, STREAM, True, "answered"),
        (200, {}, STREAM[:-8], True, "a stream without an end"),
        (200, {}, TOLD, True, "told"),
        (429, {"Retry-After": "5"}, b"", False, "told"),
        (429, {}, b"", False, "429 without Retry-After"),
    ],
)
def test_an_answer_is_whole_or_a_429_that_says_when_to_come_again(
    status: int, headers: dict[str, str], text: bytes, stream: bool, outcome: str
) -> None:
    assert _outcome(status, headers, text, stream) == outcome


def test_anything_else_is_a_fault_that_is_shown() -> None:
    assert _outcome(503, {}, b"no", False) == "status 503: no"
    assert "stopping" in _outcome(200, {}, TOLD.replace(b"rate_limit_error", b"stopping"), True)


GOOD = Burst([150, 50], 300, [], 1, 4.0, 200, 80.0, 120.0, 58.0)


@pytest.mark.parametrize(
    ("burst", "missed"),
    [
        (GOOD, set()),
        (replace(GOOD, wake_calls=2), {"b_wake_calls"}),
        (replace(GOOD, faults=["x"]), {"b_answered_or_told"}),
        (replace(GOOD, held_max=201), {"b_held_at_once"}),
        (replace(GOOD, answered=[151, 49]), {"b_small_tenant_answered"}),
    ],
)
def test_a_row_misses_its_target_where_the_burst_did(burst: Burst, missed: set[str]) -> None:
    assert {row["name"] for row in _rows("b", burst, 200, [450, 50]) if row["met"] is False} == missed
