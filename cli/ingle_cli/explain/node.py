"""`explain node/NAME`: who holds what, what the agent reads, and what the reasons mean."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.text import Text

from ingle_cli.access import CallersKube
from ingle_cli.explain.read import conditions_table, events_of, events_table, if_allowed, read_one
from ingle_cli.explain.reason import meanings
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import Object, gpu_node, seconds_since
from ingle_cli.status.summary import node_line
from ingle_cli.text import Shown, age, ago, paragraph, per, plural, short_gpu, table, title
from ingle_core.facts import GpuNode, memory_headroom_mib
from ingle_core.ledger import Gpu
from ingle_kit.kube import KubeError
from ingle_kit.names import GPU_NODE, LABEL_POOL, POD

PodNames = dict[str, str]


async def explain_node(kube: CallersKube, name: str, now_s: float) -> tuple[Shown, Failure | None]:
    """What to print; the Failure says which right was missing for a part of it."""
    node = await read_one(kube, GPU_NODE, name)
    errors: list[KubeError] = []
    pods, events = await asyncio.gather(
        if_allowed(_pods_on(kube, name), errors), if_allowed(events_of(kube, node, GPU_NODE), errors)
    )
    return node_text(node, pods or {}, events, now_s), failure(errors, kube.server) if errors else None


async def _pods_on(kube: CallersKube, node: str) -> PodNames:
    found, _ = await kube.list(POD, label_selector=LABEL_POOL, field_selector=f"spec.nodeName={node}")
    metadata = [pod["metadata"] for pod in found]
    return {one["uid"]: f"{one['namespace']}/{one['name']}" for one in metadata}


def node_text(obj: Object, pods: PodNames, events: list[Object] | None, now_s: float) -> Shown:
    """Pure: objects to what is printed. `pods`: namespace/name by UID, as far as they are known."""
    node = gpu_node(obj)
    reasons = [c.get("reason", "") for c in (obj.get("status") or {}).get("conditions") or ()]
    reasons += ["AgentSilent"] if node_line(obj, now_s).silent else []
    return [
        *_head(obj, now_s),
        *conditions_table(obj, now_s),
        *_gpus(node, obj),
        *_zones(node),
        *_holders(node, pods, now_s),
        *events_table(events, now_s),
        *meanings(reasons),
    ]


def _head(obj: Object, now_s: float) -> Shown:
    line, safe = node_line(obj, now_s), obj["spec"].get("wattsSafe")
    heard = (
        f"agent heard {ago(line.heard_s)}" if not line.silent else f"agent silent, heard {ago(line.heard_s)}"
    )
    watts = f"{line.charged_w} W charged"
    if line.allotted_w is None:
        watts += ", no PowerBudget covers it"
    else:
        watts += f" of {line.allotted_w} W allotted" + (f", {safe} W without the operator" if safe else "")
    memory = f"{line.claimed_mib} of {line.allocatable_mib} MiB claimed by {plural(line.pods, 'pod')}"
    return [
        title(f"Node {line.name}: {plural(line.gpus, 'GPU')}, {line.product or 'product not known'}"),
        paragraph(f"{heard}; {memory}; {watts}; ledger revision {obj['spec']['revision']}"),
    ]


def _gpus(node: GpuNode, obj: Object) -> Shown:
    told = {gpu["uuid"]: gpu for gpu in (obj.get("status") or {}).get("gpus") or ()}
    rows = [_gpu_row(gpu, told.get(gpu.uuid, {}), node) for gpu in node.spec.gpus]
    heads = ("GPU", "UUID", "CLAIMED/OF MIB", "LEFT", "FOREIGN", "CHARGED/LIMIT W", "NUMA", "HEALTH")
    return [Text(""), table(heads, rows, right=(heads[0], *heads[2:7]))]


def _gpu_row(gpu: Gpu, told: dict[str, Any], node: GpuNode) -> tuple[object, ...]:
    seen = next((one for one in node.status.gpus if one.uuid == gpu.uuid), None)
    if seen is None:
        left: int | None = None
        health = "NotReported"
    else:
        current = node.status.observed_revision >= node.spec.revision
        left = memory_headroom_mib(gpu.allocatable_mib, gpu.claimed_mib, seen.memory, current)
        health = "MIG" if seen.mig else seen.health
    limits = told.get("watts") or {}
    return (
        told.get("index"),
        short_gpu(gpu.uuid),
        per(gpu.claimed_mib, gpu.allocatable_mib),
        left,
        (told.get("memoryMiB") or {}).get("foreign", 0),
        per(gpu.charged_watts, limits.get("enforced")),
        told.get("numa"),
        health,
    )


def _zones(node: GpuNode) -> Shown:
    if not node.spec.zones:
        return []
    zones = ", ".join(f"{z.zone}: {per(z.claimed_mib, z.allocatable_mib)}" for z in node.spec.zones)
    return [Text(""), paragraph(f"Host memory for sleepers, claimed/of MiB by NUMA zone: {zones}", indent=0)]


def _holders(node: GpuNode, pods: PodNames, now_s: float) -> Shown:
    if not node.spec.pods:
        return [Text(""), Text("No pod holds anything here.")]
    rows = []
    for holder in node.spec.pods:
        claims = [(gpu, c) for gpu in node.spec.gpus for c in gpu.claims if c.pod_uid == holder.uid]
        rows.append(
            (
                pods.get(holder.uid, f"{holder.pool} (pod {holder.uid[:8]})"),
                holder.state,
                age(seconds_since(holder.at, now_s)),
                sum(claim.memory_mib for _, claim in claims),
                sum(claim.watts for _, claim in claims),
                ", ".join(short_gpu(gpu.uuid) for gpu, _ in claims),
            )
        )
    heads = ("HOLDER", "STATE", "SINCE", "MIB", "WATTS", "GPUS")
    return [Text(""), table(heads, rows, right=("MIB", "WATTS"), fold="GPUS")]
