"""The table of tiers is whole, the life cycle goes by it, and the documentation shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingle_core.warmpool import tiers
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import Limits
from ingle_core.warmpool.tiers import MOVES, Level, Tier

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "tiers.md"


def test_the_document_shows_the_table() -> None:
    table = "\n".join(tiers.rows())
    assert table in DOCUMENT.read_text(), f"docs/tiers.md differs; it should have:\n{table}"


def test_every_tier_can_be_left_and_reached() -> None:
    for tier in Tier:
        assert any(move.origin is tier for move in MOVES), tier
    assert {move.to for move in MOVES} >= {Tier.HOT, Tier.ASLEEP_L1, Tier.ASLEEP_L2, Tier.COLD}


def test_a_warmer_start_costs_less() -> None:
    ways = [tiers.WAKE_L1, tiers.WAKE_L2, tiers.START_CACHED, tiers.START_COLD]
    costs = [tiers.seconds_of(way, None) for way in ways]
    assert costs == sorted(costs)
    assert tiers.seconds_of(tiers.WAKE_L1, 1900) == 1.9


@pytest.mark.parametrize("level", list(Level))
def test_a_settled_engine_has_a_tier_and_one_on_its_way_has_none(level: Level) -> None:
    assert tiers.tier_of(State.AWAKE, level) is Tier.HOT
    assert tiers.tier_of(State.ASLEEP, level) is tiers.sleep_of(level).to is tiers.wake_of(level).origin
    assert tiers.tier_of(State.WAKING, level) is None


def test_the_life_cycle_has_the_limits_of_the_table() -> None:
    limits = Limits(start_s=1)
    assert (limits.sleep_s, limits.wake_s, limits.drain_s) == (
        tiers.SLEEP_L2.limit_s,
        tiers.WAKE_L2.limit_s,
        tiers.STOP.limit_s,
    )
