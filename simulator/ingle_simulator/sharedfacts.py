"""Engines that share GPUs, as the operator's decisions see them at one moment: what each holds, who could give way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import Final

from ingle_core.placement.chance import by_worth, chance_of_use
from ingle_core.placement.tenants import Spare, Tenant
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.keepalive import Pool as Kept
from ingle_core.warmpool.keepalive import Strategy
from ingle_core.warmpool.past import NOTHING_YET, Past
from ingle_core.warmpool.userate import UseRate
from ingle_core.warmpool.wakeslot import Neighbour

RECENT_S: Final = 2.0
SETTLED: Final = frozenset({State.AWAKE, State.ASLEEP})


@dataclass(frozen=True, slots=True)
class Model:
    """A pool of one engine on `gpu` of `node`. `sleep_s`, `wake_s`: how long that takes."""

    name: str
    node: str
    gpu: str
    awake_mib: int = 42_000
    asleep_mib: int = 2_048
    sleep_s: float = 2.0
    wake_s: float = 0.8


@dataclass(slots=True)
class Engine:
    """A model's one engine. `waiting`: numbers of the requests that wait for it. `busy_at_s`: when what it serves last
    changed while it was serving; `loaded_at_s`: when it last had load; `used_at_s`: when its strategy was last told.

    `short_since_s`: since when its wake waits for room, inf while it does not; `again_s`: not looked at before.
    `for_whom`: who gets its room while it gives way.
    """

    model: Model
    state: State = State.ASLEEP
    since_s: float = 0.0
    in_flight: int = 0
    waiting: list[int] = field(default_factory=list)
    busy_at_s: float = 0.0
    loaded_at_s: float = -math.inf
    used_at_s: float = -math.inf
    uses: UseRate = field(default_factory=lambda: UseRate(0.0))
    past: Past = NOTHING_YET
    wanted: int = 0
    makes_room: str = ""
    short_since_s: float = math.inf
    again_s: float = 0.0
    for_whom: str = ""

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def load(self) -> int:
        return self.in_flight + len(self.waiting)

    @property
    def charged_mib(self) -> int:
        return self.model.asleep_mib if self.state is State.ASLEEP else self.model.awake_mib

    @property
    def idle_from_s(self) -> float:
        """From when on it counts as idle; inf while it has requests."""
        return math.inf if self.load else self.busy_at_s + RECENT_S


def tenants(engines: Sequence[Engine], strategy: Strategy, now_s: float) -> list[Tenant]:
    """All that hold something. Who is wanted next is told by the strategy's worth among those without load."""
    found = [_tenant(engine, now_s) for engine in engines]
    quiet = [n for n, engine in enumerate(engines) if not engine.load]
    worths = [strategy.worth(Kept(found[n].pool), now_s) for n in quiet]
    for n, chance in zip(quiet, by_worth([found[n].chance for n in quiet], worths), strict=True):
        found[n] = replaced(found[n], chance=chance)
    return found


def _tenant(engine: Engine, now_s: float) -> Tenant:
    model = engine.model
    return Tenant(
        model.name,
        model.name,
        "",
        (model.gpu,),
        engine.state.value,  # type: ignore[arg-type]
        engine.charged_mib,
        asleep_mib=model.asleep_mib,
        busy=now_s < engine.idle_from_s,
        chance=1.0 if engine.load else chance_of_use((), now_s=now_s, idle_s=now_s - engine.busy_at_s),
        sleep_s=model.sleep_s,
        wake_s=model.wake_s,
    )


def spare(engines: Iterable[Engine]) -> dict[str, Spare]:
    """Awake ones that no load wants may sleep; every pool keeps its one engine."""
    return {
        e.name: Spare(max(0, (e.state is State.AWAKE) - max(e.wanted, min(1, e.load))), 0) for e in engines
    }


def neighbours(
    engines: Iterable[Engine], known: Sequence[Tenant], least_s: float, now_s: float
) -> list[Neighbour]:
    """Of one node. `least_s`: an engine sleeps ahead only after it was unused for so long."""
    return [_neighbour(engine, tenant, least_s, now_s) for engine, tenant in zip(engines, known, strict=True)]


def _neighbour(engine: Engine, tenant: Tenant, least_s: float, now_s: float) -> Neighbour:
    idle_s = now_s - engine.busy_at_s
    return Neighbour(
        uid=tenant.uid,
        pool=tenant.pool,
        gpus=tenant.gpus,
        state=tenant.state,
        memory_mib=tenant.memory_mib,
        asleep_mib=tenant.asleep_mib,
        awake_mib=engine.model.awake_mib,
        moves=engine.state is State.AWAKE and not tenant.busy and idle_s >= least_s,
        rate=engine.uses.per_s(now_s, idle_s),
        sleep_s=tenant.sleep_s,
        wake_s=tenant.wake_s,
    )
