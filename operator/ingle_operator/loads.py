"""What the load of each pool was: its peaks, its uses, and when it is wanted, which its status keeps over restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingle_core.warmpool.demandprofile import DemandProfile
from ingle_core.warmpool.peaks import Peaks
from ingle_core.warmpool.userate import UseRate

if TYPE_CHECKING:
    from ingle_operator.world import World

IDLE_S = 120.0  # of a pool whose spec has not been seen yet


def note(world: World, pool: str, load: int, now_s: float) -> None:
    """The pool's load is `load` from now on. `pool`: namespace/name; one that is not there has no profile."""
    world.notes.peaks.setdefault(pool, Peaks()).note(load, now_s)
    use_rate(world, pool).note(load, now_s)
    profile = _profile(world, pool, now_s)
    if profile is not None:
        spec = world.notes.specs.get(pool)
        profile.note(load, now_s, float(spec.warm.idle_seconds) if spec else IDLE_S)


def use_rate(world: World, pool: str) -> UseRate:
    """How often it is used, as far as this process has seen."""
    return world.notes.uses.setdefault(pool, UseRate(world.started_at_s))


def wanted_percent(world: World, pool: str, now_s: float) -> tuple[int, ...]:
    """What its status says: 24 whole percents, changed at most once an hour; empty while nothing is known."""
    profile = _profile(world, pool, now_s)
    return profile.percent(now_s) if profile is not None else ()


def _profile(world: World, pool: str, now_s: float) -> DemandProfile | None:
    if pool not in world.notes.profiles:
        namespace, _, short = pool.partition("/")
        stored = world.pools.store.get((namespace, short))
        if stored is None:
            return None
        known = stored.status.get("demandPercentByHour") or ()
        world.notes.profiles[pool] = DemandProfile(known, now_s)
    return world.notes.profiles[pool]
