"""`explain node/NAME`: who holds what, what the agent reads, whether it takes a new pod, and what the reasons mean."""

from __future__ import annotations

import asyncio

import msgspec
from rich.text import Text

from ingle_cli.access import CallersKube
from ingle_cli.explain.account import GpuAccount, NodeAccount, Taking, account_of
from ingle_cli.explain.read import conditions_table, events_of, events_table, if_allowed, read_one
from ingle_cli.explain.reason import meanings
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import Object, seconds_since
from ingle_cli.text import Shown, age, ago, paragraph, per, plural, short_gpu, table
from ingle_cli.text import title as bold
from ingle_core.placement import Ask
from ingle_kit.kube import KubeError, NotFound
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LABEL_POOL, NODE, POD
from ingle_kit.poolfacts import known_pools


async def explain_node(
    kube: CallersKube, name: str, now_s: float, *, ask: Ask | None = None, as_json: bool = False
) -> tuple[Shown | str, Failure | None]:
    """What to print; the Failure says which right was missing for a part of it. `ask` None: anything at all."""
    node = await read_one(kube, GPU_NODE, name)
    errors: list[KubeError] = []
    pods, kube_node, events, pools = await asyncio.gather(
        if_allowed(_pods_on(kube, name), errors),
        if_allowed(_kube_node(kube, name), errors),
        if_allowed(events_of(kube, node, GPU_NODE), errors),
        if_allowed(kube.list(INFERENCE_POOL), errors),
    )
    context = known_pools(pools[0] if pools else ()).context(now_s)
    account = account_of(node, kube_node, pods or {}, ask, now_s, context)
    missing = failure(errors, kube.server) if errors else None
    if as_json:
        return msgspec.json.format(msgspec.json.encode(account), indent=2).decode(), missing
    return node_text(node, account, events, now_s), missing


async def _pods_on(kube: CallersKube, node: str) -> dict[str, str]:
    found, _ = await kube.list(POD, label_selector=LABEL_POOL, field_selector=f"spec.nodeName={node}")
    metadata = [pod["metadata"] for pod in found]
    return {one["uid"]: f"{one['namespace']}/{one['name']}" for one in metadata}


async def _kube_node(kube: CallersKube, name: str) -> Object:
    """Empty where there is no such Node, which is as good as one that is not ready."""
    try:
        return await kube.get(NODE, name)
    except NotFound:
        return {}


def node_text(obj: Object, account: NodeAccount, events: list[Object] | None, now_s: float) -> Shown:
    """Pure: what is known to what is printed."""
    reasons = [c.get("reason", "") for c in (obj.get("status") or {}).get("conditions") or ()]
    reasons += ["AgentSilent"] if account.silent else []
    reasons += [account.takes.reason] if account.takes.reason != "Fits" else []
    return [
        *_head(account),
        *_takes(account.takes),
        *conditions_table(obj, now_s),
        *_gpus(account.gpus),
        *_zones(account),
        *_holders(account, now_s),
        *events_table(events, now_s),
        *meanings(reasons),
    ]


def _head(account: NodeAccount) -> Shown:
    heard = f"agent {'silent, ' if account.silent else ''}heard {ago(account.heard_s)}"
    watts = f"{account.charged_w} W charged"
    if account.allotted_w is None:
        watts += ", no PowerBudget covers it"
    else:
        safe = f", {account.safe_w} W without the operator" if account.safe_w else ""
        watts += f" of {account.allotted_w} W allotted, {account.spare_w} W left{safe}"
    claimed = sum(gpu.claimed_mib for gpu in account.gpus)
    memory = f"{per(claimed, sum(gpu.allocatable_mib for gpu in account.gpus))} MiB claimed"
    state = {True: "ready", False: "not ready", None: "its Node cannot be read"}[account.ready]
    cordoned = ", cordoned" if account.cordoned else ""
    product = account.product or "product not known"
    return [
        bold(f"Node {account.name}: {plural(len(account.gpus), 'GPU')}, {product}"),
        paragraph(
            f"{state}{cordoned}; {heard}; {memory} by {plural(len(account.holders), 'pod')}; {watts};"
            f" ledger revision {account.revision}"
        ),
    ]


def _takes(taking: Taking) -> Shown:
    what = "a new pod" if taking.memory_mib == 1 else f"{taking.gpu_count} × {taking.memory_mib} MiB"
    if taking.reason == "Fits":
        gpus = ", ".join(short_gpu(uuid) for uuid in taking.gpus)
        return [paragraph(f"It would take {what}, on {gpus}: Fits")]
    return [paragraph(f"It would not take {what}: {taking.reason}: {taking.why}")]


def _gpus(gpus: tuple[GpuAccount, ...]) -> Shown:
    memory = [
        (
            gpu.index,
            short_gpu(gpu.uuid),
            gpu.product,
            per(gpu.claimed_mib, gpu.allocatable_mib),
            gpu.free_mib,
            gpu.foreign_mib,
            gpu.headroom_mib,
            gpu.health,
        )
        for gpu in gpus
    ]
    power = [
        (gpu.index, short_gpu(gpu.uuid), gpu.numa, gpu.nvlink_peers, gpu.floor_w, gpu.claimed_w, gpu.limit_w)
        for gpu in gpus
    ]
    heads = ("GPU", "UUID", "PRODUCT", "CLAIMED/OF MIB", "FREE", "FOREIGN", "HEADROOM", "HEALTH")
    more = ("GPU", "UUID", "NUMA", "NVLINK PEERS", "FLOOR W", "CLAIMED W", "LIMIT W")
    return [
        Text(""),
        table(heads, memory, right=(heads[0], *heads[3:7])),
        Text(""),
        table(more, power, right=(more[0], *more[2:])),
    ]


def _zones(account: NodeAccount) -> Shown:
    if not account.zones:
        return []
    zones = ", ".join(f"{z.zone}: {per(z.claimed_mib, z.allocatable_mib)}" for z in account.zones)
    return [Text(""), paragraph(f"Host memory for sleepers, claimed/of MiB by NUMA zone: {zones}", indent=0)]


def _holders(account: NodeAccount, now_s: float) -> Shown:
    if not account.holders:
        return [Text(""), Text("No pod holds anything here.")]
    rows = [
        (
            holder.pod or f"{holder.pool} (pod {holder.pod_uid[:8]})",
            holder.state,
            age(seconds_since(holder.since, now_s)),
            holder.memory_mib,
            holder.watts,
            holder.host_mib,
            ", ".join(short_gpu(uuid) for uuid in holder.gpus),
        )
        for holder in account.holders
    ]
    heads = ("HOLDER", "STATE", "SINCE", "MIB", "WATTS", "HOST MIB", "GPUS")
    return [Text(""), table(heads, rows, right=("MIB", "WATTS", "HOST MIB"), fold="GPUS")]
