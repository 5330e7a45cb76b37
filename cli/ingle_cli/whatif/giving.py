"""What would have to sleep or stop for one more engine, from API objects. Pure.

How busy an engine is stands in no object: one counts as busy where its pool wants all that are awake, more than it
always keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ingle_cli.explain.placing import facts_of
from ingle_cli.objects import Object
from ingle_core.facts import Columns, GpuNode
from ingle_core.ledger import Holder
from ingle_core.placement import NOTHING_ELSE, Ask, Assumed, Context
from ingle_core.placement.chance import chance_of_use
from ingle_core.placement.room import Room, make_room
from ingle_core.placement.tenants import Spare, Tenant, can_drop

Needs = Mapping[str, Ask]  # by pod UID


def room_for(
    ask: Ask,
    gpu_nodes: Sequence[GpuNode],
    nodes: Mapping[str, Object] | None,
    pools: Sequence[Object],
    needs: Needs,
    names: Sequence[str],
    assumed: Sequence[Assumed],
    *,
    now_s: float,
    context: Context = NOTHING_ELSE,
) -> Room:
    """Room on one of `names`, `assumed` being on their way there. `now_s`: Unix seconds."""
    columns = Columns()
    for node in gpu_nodes:
        columns.update(node.metadata.name, facts_of(node, nodes))
    by_name = {f"{p['metadata'].get('namespace', '')}/{p['metadata']['name']}": p for p in pools}
    tenants = [
        _tenant(node, holder, by_name.get(holder.pool), needs.get(holder.uid), now_s)
        for node in gpu_nodes
        for holder in node.spec.pods
    ]
    kept = {name: _spare(name, pool, tenants) for name, pool in by_name.items()}
    return make_room(
        ask, columns, tenants, kept, now_s=now_s, node_names=names, assumed=assumed, context=context
    )


def _tenant(node: GpuNode, holder: Holder, pool: Object | None, need: Ask | None, now_s: float) -> Tenant:
    """`need` None: nobody knows what it keeps asleep, so that its sleep is no help. A pool that is gone has no say."""
    claims = [(gpu.uuid, c) for gpu in node.spec.gpus for c in gpu.claims if c.pod_uid == holder.uid]
    hosted = [(z.zone, c.memory_mib) for z in node.spec.zones for c in z.claims if c.pod_uid == holder.uid]
    spec = (pool or {}).get("spec") or {}
    kind = (spec.get("engine") or {}).get("kind")
    level = (spec.get("warm") or {}).get("level", "L1")
    memory_mib = max((claim.memory_mib for _, claim in claims), default=0)
    return Tenant(
        uid=holder.uid,
        pool=holder.pool,
        node=node.metadata.name,
        gpus=node.spec.gpus_of(holder.uid),
        state=holder.state,
        memory_mib=memory_mib,
        asleep_mib=memory_mib if need is None else need.memory_mib.asleep,
        watts=max((claim.watts for _, claim in claims), default=0),
        host_mib=sum(mib for _, mib in hosted),
        host_zone=hosted[0][0] if hosted else None,
        priority=spec.get("priority", "Normal"),
        busy=pool is not None and _loaded(pool),
        chance=chance_of_use(_percent(pool), now_s=now_s, idle_s=0.0),
        can_sleep=need is not None and kind != "Custom",
        can_drop=need is not None
        and (kind, level) == ("VLLM", "L1")
        and can_drop(node.spec, holder.uid, need.memory_mib.awake, need.watts),
    )


def _percent(pool: Object | None) -> Sequence[int]:
    """When it is wanted; empty where that is not known, and then, since nobody tells when it was used, as if just now."""
    return ((pool or {}).get("status") or {}).get("demandPercentByHour") or ()


def _loaded(pool: Object) -> bool:
    status = pool.get("status") or {}
    count = status.get("replicas") or {}
    wanted = count.get("wanted", 0)
    return bool(status.get("waiting")) or (wanted > _least(pool) and count.get("awake", 0) <= wanted)


def _least(pool: Object) -> int:
    replicas = pool["spec"].get("replicas") or {}
    fixed = replicas.get("fixed")
    return int(replicas.get("min", 0) if fixed is None else fixed)


def _spare(name: str, pool: Object, tenants: Sequence[Tenant]) -> Spare:
    """What it has awake above its floor and its load, and what above that and its sleepers together."""
    states = Counter(t.state for t in tenants if t.pool == name)
    wanted = max(_least(pool), ((pool.get("status") or {}).get("replicas") or {}).get("wanted", 0))
    asleep = (pool["spec"].get("warm") or {}).get("asleep", 0)
    live = states["Awake"] + states["Asleep"]
    return Spare(max(0, states["Awake"] - wanted), max(0, live - wanted - asleep))
