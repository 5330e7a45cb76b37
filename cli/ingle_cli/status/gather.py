"""Reads everything that `status` shows, at once."""

from __future__ import annotations

import asyncio

from ingle_cli.access import CallersKube
from ingle_cli.status.lines import Cluster, Object
from ingle_kit.kube import KubeError, NotFound
from ingle_kit.names import (
    GPU_NODE,
    INFERENCE_POOL,
    LEASE,
    POWER_BUDGET,
    ROUTING_POLICY,
    SYSTEM_NAMESPACE,
    Kind,
)

OPERATOR_LEASE = "ingle-operator"
CHUNK = 1000


async def read_cluster(kube: CallersKube, namespace: str | None) -> tuple[Cluster, list[KubeError]]:
    """All lists, and the errors of those that could not be read. `namespace` None: all namespaces."""
    lists = ((INFERENCE_POOL, namespace), (GPU_NODE, None), (POWER_BUDGET, None), (ROUTING_POLICY, namespace))
    errors: list[KubeError] = []

    async def listed(kind: Kind, where: str | None) -> list[Object] | None:
        try:
            items, _ = await kube.list(kind, where, limit=CHUNK)
        except KubeError as error:
            errors.append(error)
            return None
        return items

    async def lease() -> Object | None:
        try:
            return await kube.get(LEASE, OPERATOR_LEASE, SYSTEM_NAMESPACE)
        except NotFound:
            return {}
        except KubeError as error:
            errors.append(error)
            return None

    pools, nodes, budgets, policies, held = await asyncio.gather(
        *(listed(kind, where) for kind, where in lists), lease()
    )
    return Cluster(pools, nodes, budgets, policies, held), errors
