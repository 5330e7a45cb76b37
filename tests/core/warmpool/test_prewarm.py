"""Prewarms by the clock, over both changes of summer time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingle_core.warmpool.prewarm import Prewarm, ahead, cron_fault, zone_fault

BERLIN = "Europe/Berlin"  # 2026: forward on 29 March at 02:00, back on 25 October at 03:00


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def held(cron: str, at: str, *, zone: str = BERLIN, minutes: int = 10) -> bool:
    return ahead([Prewarm(cron, zone, 1, minutes)], utc(at)).replicas == 1


def test_replicas_are_held_from_the_firing_for_its_minutes() -> None:
    assert not held("30 7 * * MON-FRI", "2026-01-05 06:29:59")
    assert held("30 7 * * MON-FRI", "2026-01-05 06:30")
    assert held("30 7 * * MON-FRI", "2026-01-05 06:39:59")
    assert not held("30 7 * * MON-FRI", "2026-01-05 06:40")
    assert not held("30 7 * * MON-FRI", "2026-01-04 06:30")


def test_the_zone_decides_when_it_is_half_past_seven() -> None:
    assert held("30 7 * * *", "2026-07-06 05:30")
    assert held("30 7 * * *", "2026-07-06 07:30", zone="UTC")
    assert held("30 7 * * *", "2026-07-06 11:30", zone="America/New_York")


def test_what_falls_into_the_gap_of_spring_fires_once_at_its_end() -> None:
    assert not held("30 2 * * *", "2026-03-29 00:59")
    assert held("30 2 * * *", "2026-03-29 01:00")  # 03:00 in summer time
    assert not held("30 2 * * *", "2026-03-29 01:30")
    assert held("30 2 * * *", "2026-03-30 00:30")


def test_a_time_that_autumn_has_twice_fires_at_the_first_only() -> None:
    assert held("30 2 * * *", "2026-10-25 00:30")
    assert not held("30 2 * * *", "2026-10-25 01:30")
    assert held("30 2 * * *", "2026-10-26 01:30")


@pytest.mark.parametrize("minutes", [10, 45, 59])
def test_nothing_fires_again_whose_window_begins_in_the_second_of_the_two_hours(minutes: int) -> None:
    assert not held("45 2 * * *", "2026-10-25 01:50", minutes=minutes)


def test_a_wildcard_fires_in_both_hours_of_autumn() -> None:
    for at in ("2026-10-25 00:20", "2026-10-25 01:20"):
        assert held("*/20 2 * * *", at, minutes=1)
        assert not held("*/20 2 * * *", at.replace(":20", ":25"), minutes=1)


def test_of_several_the_most_replicas_count_and_the_reason_names_its_schedule() -> None:
    both = [Prewarm("0 6 * * *", "UTC", 2, 120), Prewarm("0 7 * * *", "UTC", 3, 30)]
    found = ahead(both, utc("2026-01-05 07:10"))
    assert (found.replicas, found.reason) == (3, "prewarm by 0 7 * * * (UTC)")
    assert ahead(both, utc("2026-01-05 07:30")).replicas == 2
    assert ahead(both, utc("2026-01-05 08:00")).replicas == 0


@pytest.mark.parametrize(
    "cron", ["61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * MOO", "0 0 31 2 *"]
)
def test_cron_that_cannot_be_read_is_named(cron: str) -> None:
    assert cron in (cron_fault(cron) or "")
    assert ahead([Prewarm(cron, "UTC", 1, 30)], utc("2026-01-05 07:10")).replicas == 0


def test_a_zone_that_nobody_knows_is_named() -> None:
    assert "Mars/Olympus" in (zone_fault("Mars/Olympus") or "")
    assert zone_fault(BERLIN) is None
    assert cron_fault("*/5 0-6 L * 1#2") is None
