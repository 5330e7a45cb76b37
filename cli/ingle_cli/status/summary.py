"""Objects as JSON to the lines of `status`. Pure: the time is an argument (Unix seconds)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from ingle_cli.objects import Object, gpu_node, seconds_since, verdict
from ingle_cli.status.lines import (
    BudgetLine,
    Cluster,
    ConditionLine,
    NodeLine,
    OperatorLine,
    PolicyLine,
    PoolLine,
    Summary,
)
from ingle_core.placement import SILENT_AFTER_S
from ingle_kit.objects import timestamp

Line = TypeVar("Line")
CONDITIONS: Final = ("Accepted", "Ready", "Reconciling", "Stalled")


def summarise(cluster: Cluster, *, namespace: str | None, now_s: float) -> Summary:
    """Sorted by namespace and name. `namespace`: the one that was asked for, None: all."""
    watts = None if cluster.nodes is None else watts_by_pool(cluster.nodes)
    return Summary(
        at=timestamp(now_s),
        namespace=namespace,
        operator=None if cluster.lease is None else operator_line(cluster.lease, now_s),
        pools=_lines(cluster.pools, lambda obj: pool_line(obj, watts)),
        nodes=_lines(cluster.nodes, lambda obj: node_line(obj, now_s)),
        budgets=_lines(cluster.budgets, budget_line),
        policies=_lines(cluster.policies, policy_line),
    )


def _lines(objects: list[Object] | None, line_of: Callable[[Object], Line]) -> list[Line] | None:
    if objects is None:
        return None
    return [line_of(obj) for obj in sorted(objects, key=_key)]


def _key(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def watts_by_pool(nodes: list[Object]) -> dict[str, int]:
    """What the ledgers charge each pool's engines with; a pool by namespace/name."""
    watts: Counter[str] = Counter()
    for obj in nodes:
        spec = gpu_node(obj).spec
        pools = {holder.uid: holder.pool for holder in spec.pods}
        for gpu in spec.gpus:
            for claim in gpu.claims:
                watts[pools.get(claim.pod_uid, "")] += claim.watts
    return watts


def pool_line(obj: Object, watts: dict[str, int] | None = None) -> PoolLine:
    """`watts` by pool; None: not known."""
    status = obj.get("status") or {}
    count = status.get("replicas") or {}
    ready = verdict(obj, "Ready")
    namespace, name = _key(obj)
    return PoolLine(
        namespace=namespace,
        name=name,
        model=obj["spec"]["model"],
        awake=count.get("awake", 0),
        asleep=count.get("asleep", 0),
        starting=count.get("starting", 0),
        wanted=count.get("wanted", 0),
        waiting=status.get("waiting", 0),
        tiers=dict(Counter(engine["state"] for engine in status.get("engines") or ())),
        charged_w=None if watts is None else watts.get(f"{namespace}/{name}", 0),
        ready=ready.status,
        reason=ready.reason,
        message=ready.message,
        conditions=[ConditionLine(type_, *verdict(obj, type_)) for type_ in CONDITIONS],
    )


def node_line(obj: Object, now_s: float) -> NodeLine:
    node = gpu_node(obj)
    usable = {gpu.uuid for gpu in node.status.gpus if gpu.health == "Healthy" and not gpu.mig}
    products = Counter(gpu.product for gpu in node.status.gpus)
    heard_s = seconds_since(node.status.heartbeat_at, now_s)
    ready = verdict(obj, "Ready")
    return NodeLine(
        name=node.metadata.name,
        product=", ".join(product for product, _ in products.most_common()),
        gpus=len(node.spec.gpus),
        unusable_gpus=sum(gpu.uuid not in usable for gpu in node.spec.gpus),
        pods=len(node.spec.pods),
        claimed_mib=sum(gpu.claimed_mib for gpu in node.spec.gpus),
        allocatable_mib=sum(gpu.allocatable_mib for gpu in node.spec.gpus),
        charged_w=sum(gpu.charged_watts for gpu in node.spec.gpus),
        allotted_w=node.spec.watts_allotted,
        heard_s=heard_s,
        silent=heard_s is None or heard_s > SILENT_AFTER_S,
        ready=ready.status,
        reason=ready.reason,
        message=ready.message,
    )


def budget_line(obj: Object) -> BudgetLine:
    status = obj.get("status") or {}
    accepted, ready = verdict(obj, "Accepted"), verdict(obj, "Ready")
    shown = accepted if accepted.status == "False" else ready
    return BudgetLine(
        name=obj["metadata"]["name"],
        asked_w=obj["spec"]["watts"],
        cap_w=status.get("capWatts"),
        allotted_w=status.get("allottedWatts"),
        draw_w=status.get("drawWatts"),
        nodes=status.get("nodes", 0),
        state=status.get("state"),
        ready=shown.status,
        reason=shown.reason,
        message=shown.message,
    )


def policy_line(obj: Object) -> PolicyLine:
    accepted = verdict(obj, "Accepted")
    namespace, name = _key(obj)
    return PolicyLine(
        namespace=namespace,
        name=name,
        models=obj["spec"]["models"],
        fallback=(obj["spec"].get("fallback") or {}).get("pool"),
        accepted=accepted.status,
        reason=accepted.reason,
        message=accepted.message,
    )


def operator_line(lease: Object, now_s: float) -> OperatorLine:
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or None
    renewed_s = seconds_since(spec.get("renewTime"), now_s)
    return OperatorLine(
        leader=holder.partition("_")[0] if holder else None,
        epoch=spec.get("leaseTransitions", 0),
        renewed_s=renewed_s,
        held=holder is not None
        and renewed_s is not None
        and renewed_s <= spec.get("leaseDurationSeconds", 0),
    )
