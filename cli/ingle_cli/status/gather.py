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
    errors: list[KubeError] = []

    async def listed(kind: Kind, where: str | None = None) -> list[Object] | None:
        try:
            return (await kube.list(kind, where, limit=CHUNK))[0]
        except KubeError as error:
            errors.append(error)
            return None

    async def lease() -> Object | None:
        try:
            return await kube.get(LEASE, OPERATOR_LEASE, SYSTEM_NAMESPACE)
        except NotFound:
            return {}
        except KubeError as error:
            errors.append(error)
            return None

    pools, nodes, budgets, policies, held = await asyncio.gather(
        listed(INFERENCE_POOL, namespace),
        listed(GPU_NODE),
        listed(POWER_BUDGET),
        listed(ROUTING_POLICY, namespace),
        lease(),
    )
    return Cluster(pools, nodes, budgets, policies, held), errors
