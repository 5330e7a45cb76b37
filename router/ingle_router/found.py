"""What a request finds that finds no engine to take it: the warmest that the pool's status tells of."""

from __future__ import annotations

from typing import Any, Final, Literal

Found = Literal["hot", "starting", "asleep", "spare", "cold"]

_BY_STATE: Final[tuple[tuple[frozenset[str], Found], ...]] = (
    (frozenset({"Waking"}), "starting"),
    # Awake, but nobody can be sent there: about to sleep, or just about to open.
    (frozenset({"AsleepL1", "AsleepL2", "Sleeping", "Awake"}), "asleep"),
    (frozenset({"Starting", "Pending"}), "starting"),
    (frozenset({"Spare"}), "spare"),
)


def found_of(obj: dict[str, Any]) -> Found:
    """starting: on its way already; asleep: a wake away; spare: a load away; cold: nothing. By what is ready first."""
    engines = (obj.get("status") or {}).get("engines") or ()
    states = {engine.get("state") for engine in engines}
    return next((found for known, found in _BY_STATE if states & known), "cold")
