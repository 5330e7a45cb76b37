"""All that is known of one node, one record per thing. `-o json` prints these records, so their names are kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingle_cli.explain.placing import facts_of, room_of, why
from ingle_cli.objects import Object, gpu_node, seconds_since
from ingle_cli.status.lines import wire_name
from ingle_cli.status.summary import node_line
from ingle_core.facts import Columns, GpuFacts, GpuNode
from ingle_core.ledger import Gpu, Holder
from ingle_core.placement import NAMES, NOTHING_ELSE, Ask, AskMemory, Context, rank
from ingle_core.placement.whatif import spare_w

ANYTHING = Ask(memory_mib=AskMemory(awake=1))

PodNames = Mapping[str, str]


class GpuAccount(msgspec.Struct, frozen=True, rename=wire_name):
    """One GPU. `free_mib`, `foreign_mib`, `limit_w` as its agent measures; `headroom_mib`: what a new claim may take."""

    index: int | None
    uuid: str
    product: str
    numa: int | None
    nvlink_peers: int
    allocatable_mib: int
    claimed_mib: int
    free_mib: int | None
    foreign_mib: int | None
    headroom_mib: int
    floor_w: int
    claimed_w: int
    limit_w: int | None
    health: str


class ZoneAccount(msgspec.Struct, frozen=True, rename=wire_name):
    """Host memory for sleepers in one NUMA zone."""

    zone: int
    allocatable_mib: int
    claimed_mib: int


class HolderAccount(msgspec.Struct, frozen=True, rename=wire_name):
    """Who holds what. `pod`: namespace/name, None where its pod is not known; memory and watts over all its GPUs."""

    pod: str | None
    pod_uid: str
    pool: str
    state: str
    since: str
    memory_mib: int
    watts: int
    host_mib: int
    gpus: tuple[str, ...]


class Taking(msgspec.Struct, frozen=True, rename=wire_name):
    """Whether the node would take a new pod that asks for this; `gpus`: which it would get."""

    gpu_count: int
    memory_mib: int
    reason: str
    why: str
    gpus: tuple[str, ...]


class NodeAccount(msgspec.Struct, frozen=True, rename=wire_name):
    """`cordoned` and `ready` are the Kubernetes Node's, None where it cannot be read. `heard_s`: None, never."""

    name: str
    product: str
    heard_s: float | None
    silent: bool
    ready: bool | None
    cordoned: bool | None
    revision: int
    charged_w: int
    allotted_w: int | None
    spare_w: int | None
    safe_w: int | None
    gpus: tuple[GpuAccount, ...]
    zones: tuple[ZoneAccount, ...]
    holders: tuple[HolderAccount, ...]
    takes: Taking


def account_of(
    obj: Object,
    kube_node: Object | None,
    pods: PodNames,
    ask: Ask | None,
    now_s: float,
    context: Context = NOTHING_ELSE,
) -> NodeAccount:
    """From a GPUNode, its Node (None: unknown) and namespace/name of pods by UID. `ask` None: anything at all.

    `context`: what the pools say.
    """
    node, line = gpu_node(obj), node_line(obj, now_s)
    known = None if kube_node is None else {node.metadata.name: kube_node}
    facts = facts_of(node, known)
    told = {gpu["uuid"]: gpu for gpu in (obj.get("status") or {}).get("gpus") or ()}
    room = {gpu.uuid: gpu for gpu in facts.gpus}
    return NodeAccount(
        name=node.metadata.name,
        product=line.product,
        heard_s=seconds_since(node.status.heartbeat_at, now_s),
        silent=line.silent,
        ready=None if kube_node is None else facts.ready,
        cordoned=None if kube_node is None else facts.cordoned,
        revision=node.spec.revision,
        charged_w=line.charged_w,
        allotted_w=node.spec.watts_allotted,
        spare_w=spare_w(facts, ""),
        safe_w=node.spec.watts_safe,
        gpus=tuple(_gpu(gpu, told.get(gpu.uuid), room[gpu.uuid]) for gpu in node.spec.gpus),
        zones=tuple(ZoneAccount(z.zone, z.allocatable_mib, z.claimed_mib) for z in node.spec.zones),
        holders=tuple(_holder(node, holder, pods) for holder in node.spec.pods),
        takes=_taking(node, known, ask or ANYTHING, now_s, context),
    )


def _gpu(gpu: Gpu, told: Mapping[str, Any] | None, facts: GpuFacts) -> GpuAccount:
    seen = told or {}
    memory = seen.get("memoryMiB") or {}
    return GpuAccount(
        index=seen.get("index"),
        uuid=gpu.uuid,
        product=seen.get("product", ""),
        numa=seen.get("numa"),
        nvlink_peers=len(set(seen.get("nvlinkPeers") or ()) - {gpu.uuid}),
        allocatable_mib=gpu.allocatable_mib,
        claimed_mib=gpu.claimed_mib,
        free_mib=memory.get("free"),
        foreign_mib=None if told is None else memory.get("foreign", 0),
        headroom_mib=facts.headroom_mib,
        floor_w=gpu.floor_watts,
        claimed_w=gpu.claimed_watts,
        limit_w=(seen.get("watts") or {}).get("enforced"),
        health=_health(told, gpu.allocatable_mib),
    )


def _health(told: Mapping[str, Any] | None, allocatable_mib: int) -> str:
    """In one word why it takes nothing, or Healthy. HeldByOther, HeldByNobody, HeldByUnknown: it is not ours."""
    if told is None:
        return "NotReported"
    if told.get("mig"):
        return "MIG"
    health, held_by = str(told.get("health", "Healthy")), told.get("heldBy", "Holder")
    return (
        f"HeldBy{held_by}" if health == "Healthy" and held_by != "Holder" and not allocatable_mib else health
    )


def _holder(node: GpuNode, holder: Holder, pods: PodNames) -> HolderAccount:
    claims = [(gpu.uuid, c) for gpu in node.spec.gpus for c in gpu.claims if c.pod_uid == holder.uid]
    hosted = [c.memory_mib for zone in node.spec.zones for c in zone.claims if c.pod_uid == holder.uid]
    return HolderAccount(
        pod=pods.get(holder.uid),
        pod_uid=holder.uid,
        pool=holder.pool,
        state=holder.state,
        since=holder.at,
        memory_mib=sum(claim.memory_mib for _, claim in claims),
        watts=sum(claim.watts for _, claim in claims),
        host_mib=sum(hosted),
        gpus=tuple(uuid for uuid, _ in claims),
    )


def _taking(
    node: GpuNode, nodes: Mapping[str, Object] | None, ask: Ask, now_s: float, context: Context
) -> Taking:
    name, columns = node.metadata.name, Columns(nodes=1)
    columns.update(name, facts_of(node, nodes))
    ranking = rank(ask, columns, [name], now_s=now_s, context=context)
    reason = NAMES[ranking.reason(name)]
    text = why(ask, reason, room_of(columns.facts[name], now_s))
    return Taking(ask.gpus, ask.memory_mib.awake, reason, text, ranking.gpus)
