"""What the ledgers say engines were told to do: wakes, starts, and any second engine for one that serves already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.warmreal.waits import Told

SERVING_SOON = frozenset(("Awake", "Waking", "Starting"))


@dataclass
class Moves:
    """Fed with every version of every ledger; counts from the last `reset` on.

    `double`: a wake or start in a pool while another engine of it is awake or on the way there, which a pool of one
    replica never needs. `history`: by pool (namespace/name), when its engines were told which state; `told`: the same
    of all in order, with their GPUs. Neither is reset.
    """

    clock: Callable[[], float] = time.time
    counts: Counter[str] = field(default_factory=Counter)
    double: list[str] = field(default_factory=list)
    history: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    _states: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)

    def ledger(self, key: Any, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        """A node's ledger changed; to be given to a Reflector as `on_change`."""
        node = key[1]
        before = self._states.get(node, {})
        now = {
            pod["uid"]: (pod["pool"], pod["state"])
            for pod in ((new or {}).get("spec") or {}).get("pods") or ()
        }
        self._states[node] = now
        gpus = _gpus_of(new)
        self.told += [Told(self.clock(), uid, before[uid][0], "") for uid in before.keys() - now.keys()]
        for uid, (pool, state) in now.items():
            if before.get(uid, ("", ""))[1] != state:
                self.told.append(Told(self.clock(), uid, pool, state, frozenset(gpus.get(uid, ()))))
        for uid, (pool, state) in now.items():
            was = before.get(uid, ("", ""))[1]
            if was != state:
                self._moved(uid, pool, was, state)

    def _moved(self, uid: str, pool: str, was: str, state: str) -> None:
        self.counts[state] += 1
        self.history.setdefault(pool, []).append((self.clock(), state))
        if was in SERVING_SOON or state not in ("Waking", "Starting"):
            return
        others = [
            other
            for engines in self._states.values()
            for other, (name, told) in engines.items()
            if name == pool and other != uid and told in SERVING_SOON
        ]
        if others:
            self.double.append(f"{pool}: {state} while {len(others)} others serve")

    def brought_by(self, pool: str, at_s: float) -> str:
        """Waking or Starting: how the engine came that the pool had then; empty where it never did."""
        return self._last(pool, at_s, ("Waking", "Starting"))

    def state_at(self, pool: str, at_s: float) -> str:
        """The last state of an engine of a pool of one; empty before the first."""
        return self._last(pool, at_s, ())

    def _last(self, pool: str, at_s: float, states: tuple[str, ...]) -> str:
        told = self.history.get(pool, ())
        return next(
            (state for t, state in reversed(told) if t <= at_s and (not states or state in states)), ""
        )

    def reset(self) -> None:
        """Forgets what was counted, not the states."""
        self.counts.clear()
        self.double.clear()

    def states(self) -> Counter[str]:
        """How many engines are in which state now."""
        return Counter(state for engines in self._states.values() for _, state in engines.values())


def _gpus_of(ledger: dict[str, Any] | None) -> dict[str, set[str]]:
    """The GPUs of each engine."""
    found: dict[str, set[str]] = {}
    for gpu in ((ledger or {}).get("spec") or {}).get("gpus") or ():
        for claim in gpu.get("claims") or ():
            found.setdefault(claim["podUID"], set()).add(gpu["uuid"])
    return found
