"""What making room looks at, read from the caches: nodes as columns, who holds what, what pools have above floors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ingle_core.facts import Columns, GpuFacts, GpuNode, GpuNodeFacts, node_facts
from ingle_core.ledger import Ledger
from ingle_core.placement import Context
from ingle_core.placement.chance import by_worth, chance_of_use
from ingle_core.placement.pools import Pools
from ingle_core.placement.tenants import Spare, Tenant, can_drop
from ingle_core.warmpool.tiers import START_COLD, WAKE_L1, Level, seconds_of, sleep_of, wake_of
from ingle_kit.kube import Object
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.poolfacts import pool_facts
from ingle_operator.adapters import ADAPTERS
from ingle_operator.parse import EnginePod, NodeRecord, Pool

if TYPE_CHECKING:  # the world keeps the columns
    from ingle_operator.world import World

WAKE_S, LOAD_S = WAKE_L1.cost_s, START_COLD.cost_s  # where nothing was measured yet
RECENT_S = 2.0  # between two requests of one client an engine is not idle


class NodeColumns:
    """All nodes as the scheduler sees them; only what changed is read again. A silent agent was heard never."""

    def __init__(self) -> None:
        self._columns = Columns()
        self._known: dict[str, tuple[Object, NodeRecord | None, bool, frozenset[str]]] = {}

    def current(self, world: World) -> Columns:
        running: defaultdict[str, set[str]] = defaultdict(set)
        for pod in world.pods.store.values():
            if pod.node and pod.gpus and not pod.ended:
                running[pod.node].add(pod.uid)
        names = [name for _, name in world.gpu_nodes.store]
        for name in self._known.keys() - set(names):
            del self._known[name]
            self._columns.remove(name)
        for name in names:
            raw, node = world.ledgers.gpu_node(name), world.nodes.store.get(("", name))
            heard = world.measurement(name) is not None
            uids = frozenset(running.get(name, ()))
            known = self._known.get(name)
            if raw is None or (known and known[0] is raw and known[1] is node and known[2:] == (heard, uids)):
                continue
            self._known[name] = (raw, node, heard, uids)
            self._take(name, raw, node, heard, uids)
        return self._columns

    def _take(
        self, name: str, raw: Object, node: NodeRecord | None, heard: bool, running: frozenset[str]
    ) -> None:
        try:
            read = GpuNode.from_dict(raw)
        except ValueError:
            self._columns.remove(name)
            return
        ready, cordoned = node is not None and node.ready, node is not None and node.cordoned
        heard_at_s = 0.0 if heard else float("-inf")
        whole = running <= {holder.uid for holder in read.spec.pods}
        facts = node_facts(read, heard_at_s=heard_at_s, ready=ready, cordoned=cordoned, whole=whole)
        self._columns.update(name, facts)


class PoolContext:
    """All pools as the scheduler sees them; only what changed is read again. One that cannot be read counts for none."""

    def __init__(self) -> None:
        self._pools = Pools()
        self._known: dict[str, Object] = {}

    def current(self, world: World, now_s: float) -> Context:
        """`now_s`: of a clock that only goes forward."""
        raws = {pool.name: pool.raw for pool in world.pools.store.values()}
        for name in self._known.keys() - raws.keys():
            del self._known[name]
            self._pools.learn(name, None)
        for name, raw in raws.items():
            if self._known.get(name) is not raw:
                self._known[name] = raw
                self._learn(name, raw)
        return self._pools.context(now_s)

    def _learn(self, name: str, raw: Object) -> None:
        try:
            self._pools.learn(name, pool_facts(raw))
        except ValueError:
            self._pools.learn(name, None)


def wake_facts(ledger: Ledger) -> GpuNodeFacts:
    """A node as the ledger alone sees it: a sleeper has its place, only the ledger's rules are asked."""
    moving = {pod.uid for pod in ledger.pods if pod.state not in ("Awake", "Asleep")}
    gpus = tuple(
        GpuFacts(
            gpu.uuid,
            "",
            gpu.allocatable_mib,
            gpu.allocatable_mib - gpu.claimed_mib,
            busy=any(c.pod_uid in moving for c in gpu.claims),
            floor_w=gpu.floor_watts,
            claimed_w=gpu.claimed_watts,
        )
        for gpu in ledger.gpus
    )
    return GpuNodeFacts(gpus, allotted_w=ledger.watts_allotted)


class Loads(NamedTuple):
    """Requests by engine, and by pool those that wait and all."""

    engines: Mapping[str, int]
    waiting: Mapping[str, int]
    pools: Mapping[str, int]


def loads_of(world: World) -> Loads:
    engines: defaultdict[str, int] = defaultdict(int)
    waiting: defaultdict[str, int] = defaultdict(int)
    pools: defaultdict[str, int] = defaultdict(int)
    for demand in world.demands():
        for endpoint in demand.endpoints:
            engines[endpoint.pod_uid] += endpoint.in_flight
        for pool in demand.pools:
            waiting[pool.pool] += pool.waiting
            pools[pool.pool] += pool.waiting + pool.in_flight
    return Loads(engines, waiting, pools)


def tenants_of(world: World, loads: Loads, now_s: float) -> list[Tenant]:
    """Everybody who holds something, from the ledgers. What is not known of demand counts as busy."""
    pods = {pod.uid: pod for pod in world.pods.store.values()}
    found: list[Tenant] = []
    for _, name in world.gpu_nodes.store:
        ledger = world.ledger(name)
        if ledger is None:
            continue
        for tenant in _held(ledger, name):
            pod = pods.get(tenant.uid)
            spec = _spec(world, tenant.pool)
            if pod is None or pod.deleting:  # its claim goes when its memory does
                found.append(replace(tenant, state="Stopping"))
            elif spec is not None and pod.node == name:
                known = _known(world, tenant, pod, spec, loads, now_s)
                found.append(replace(known, can_drop=_can_drop(ledger, pod, spec)))
    return _by_worth(world, found, loads, now_s)


def replica_numbers(world: World, tenants: Iterable[Tenant]) -> dict[str, int]:
    """By engine: which replica of its pool it stands for, 0 the one used last."""
    used_at_s = world.notes.busy_at_s
    order = sorted(tenants, key=lambda t: (t.pool, -used_at_s.get(t.uid, 0.0), t.uid))
    groups = groupby(order, key=lambda t: t.pool)
    return {tenant.uid: n for _, group in groups for n, tenant in enumerate(group)}


def _by_worth(world: World, tenants: list[Tenant], loads: Loads, now_s: float) -> list[Tenant]:
    """Where pools ask for a strategy that tells their worth, it deals out their chances anew."""
    numbers = replica_numbers(world, tenants)
    alike: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for place, tenant in enumerate(tenants):
        spec = _spec(world, tenant.pool)
        if spec is None or loads.pools.get(tenant.pool, 0):
            continue
        worth = world.keepalives.worth(spec.warm.keep_alive, tenant.pool, numbers[tenant.uid], now_s)
        if worth is not None:
            alike[spec.warm.keep_alive].append((place, worth))
    for group in alike.values():
        chances = by_worth([tenants[place].chance for place, _ in group], [worth for _, worth in group])
        for (place, _), chance in zip(group, chances, strict=True):
            tenants[place] = replace(tenants[place], chance=chance)
    return tenants


def spare_of(world: World, tenants: Iterable[Tenant], loads: Loads) -> dict[str, Spare]:
    """By pool: awake engines above min and its load, and engines above what it keeps at all."""
    awake: defaultdict[str, int] = defaultdict(int)
    kept: defaultdict[str, int] = defaultdict(int)
    for tenant in tenants:
        awake[tenant.pool] += tenant.state == "Awake"
        kept[tenant.pool] += tenant.state in ("Awake", "Asleep", "Sleeping", "Waking")
    spare: dict[str, Spare] = {}
    for pool in kept:
        spec = _spec(world, pool)
        if spec is None:
            continue
        load = -(-loads.pools.get(pool, 0) // max(1, spec.scaling.concurrency))
        wanted = max(spec.replicas.min, load if spec.replicas.fixed is None else spec.replicas.fixed)
        wanted = max(wanted, world.notes.wanted_awake.get(pool, 0))  # with what is made ready ahead of load
        floor = max(wanted, spec.replicas.min + spec.warm.asleep)
        spare[pool] = Spare(max(0, awake[pool] - wanted), max(0, kept[pool] - floor))
    return spare


def _pool(world: World, pool: str) -> Pool | None:
    namespace, _, name = pool.partition("/")
    found: Pool | None = world.pools.store.get((namespace, name))
    return found


def _spec(world: World, pool: str) -> InferencePoolSpec | None:
    found = _pool(world, pool)
    return world.spec_of(found) if found is not None else None


def _held(ledger: Ledger, node: str) -> list[Tenant]:
    """What each pod holds by the ledger alone."""
    gpus: defaultdict[str, list[str]] = defaultdict(list)
    most: dict[str, tuple[int, int]] = {}
    parents = {gpu.parent for gpu in ledger.gpus if gpu.parent}
    for gpu in ledger.gpus:
        for held in gpu.claims if gpu.uuid not in parents else ():
            gpus[held.pod_uid].append(gpu.uuid)
            before = most.get(held.pod_uid, (0, 0))
            most[held.pod_uid] = (max(before[0], held.memory_mib), max(before[1], held.watts))
    host = {c.pod_uid: (z.zone, c.memory_mib) for z in ledger.zones for c in z.claims}
    tenants = []
    for pod in ledger.pods:
        (memory_mib, watts), (zone, host_mib) = most.get(pod.uid, (0, 0)), host.get(pod.uid, (None, 0))
        tenants.append(
            Tenant(
                pod.uid,
                pod.pool,
                node,
                tuple(gpus[pod.uid]),
                pod.state,
                memory_mib,
                watts=watts,
                host_mib=host_mib,
                host_zone=zone,
            )
        )
    return tenants


def _can_drop(ledger: Ledger, pod: EnginePod, spec: InferencePoolSpec) -> bool:
    lowers = ADAPTERS[pod.need.engine or spec.engine.kind].lowers
    return (
        lowers
        and pod.need.level is Level.L1
        and can_drop(ledger, pod.uid, pod.need.awake_mib, pod.need.busy_w)
    )


def _known(
    world: World, tenant: Tenant, pod: EnginePod, spec: InferencePoolSpec, loads: Loads, now_s: float
) -> Tenant:
    notes = world.notes
    waits = tenant.state == "Asleep" and loads.waiting.get(tenant.pool, 0) > 0
    used_at_s = notes.busy_at_s.get(tenant.uid, 0.0)
    recent = now_s - used_at_s < RECENT_S
    busy = not world.demand_known() or loads.engines.get(tenant.uid, 0) > 0 or waits or recent
    idle_s = max(0.0, now_s - max(used_at_s, world.started_at_s))
    pool = _pool(world, tenant.pool)
    percent = (pool.status.get("demandPercentByHour") or ()) if pool is not None else ()
    way = notes.gives_way.get(tenant.uid)
    tired = way is not None and not way.holds(now_s)  # it did not get there in time
    return replace(
        tenant,
        state="Starting" if tired and tenant.state in ("Awake", "Asleep") else tenant.state,
        asleep_mib=pod.need.asleep_mib,
        priority=spec.priority,
        busy=busy,
        dropping=way is not None and way.drops and way.holds(now_s) and bool(tenant.host_mib),
        can_sleep=(pod.need.engine or spec.engine.kind) != "Custom",
        chance=1.0 if loads.pools.get(tenant.pool, 0) else chance_of_use(percent, now_s=now_s, idle_s=idle_s),
        sleep_s=seconds_of(sleep_of(pod.need.level), notes.sleep_ms.get(tenant.uid)),
        wake_s=seconds_of(wake_of(pod.need.level), notes.wake_ms.get(tenant.uid)),
        load_s=seconds_of(START_COLD, notes.start_ms.get(tenant.uid)),
    )
