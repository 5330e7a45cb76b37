"""What each account needs, as charts/manifests/rbac.yaml grants it, and what a person needs for this command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingle_cli.doctor.facts import Right
from ingle_kit.names import GROUP, SYSTEM_NAMESPACE

LEASES: Final = "coordination.k8s.io"

# account: group, resources, verbs, namespace ("": the whole cluster), name ("": any)
_NEEDS: Final[dict[str, tuple[tuple[str, str, str, str, str], ...]]] = {
    "ingle-operator": (
        (GROUP, "inferencepools routingpolicies powerbudgets", "list watch", "", ""),
        (GROUP, "inferencepools/status routingpolicies/status powerbudgets/status", "patch", "", ""),
        (GROUP, "gpunodes", "get list watch create patch", "", ""),
        ("", "pods", "list watch create delete", "", ""),
        ("", "pods/status", "patch", "", ""),
        ("", "pods/resize", "patch", "", ""),
        ("", "nodes", "list watch", "", ""),
        ("autoscaling", "horizontalpodautoscalers", "list watch", "", ""),
        ("", "events", "create", "", ""),
        (LEASES, "leases", "create", SYSTEM_NAMESPACE, ""),
        (LEASES, "leases", "get update", SYSTEM_NAMESPACE, "ingle-operator"),
        ("", "serviceaccounts", "get", SYSTEM_NAMESPACE, "ingle-operator"),
    ),
    "ingle-scheduler": (
        (GROUP, "gpunodes", "get list watch patch", "", ""),
        (GROUP, "inferencepools", "list watch", "", ""),
        ("", "pods", "get list watch", "", ""),
        ("", "pods/binding", "create", "", ""),
        (LEASES, "leases", "create", SYSTEM_NAMESPACE, ""),
        (LEASES, "leases", "get update", SYSTEM_NAMESPACE, "ingle-scheduler"),
    ),
    "ingle-router": (
        (GROUP, "inferencepools routingpolicies", "list watch", "", ""),
        ("", "pods", "list watch", "", ""),
        ("authentication.k8s.io", "tokenreviews", "create", "", ""),
    ),
    "ingle-agent": (
        (GROUP, "gpunodes", "list watch", "", ""),
        (GROUP, "gpunodes/status", "patch", "", ""),
    ),
}

# What the other commands read: see docs/cli.md.
_OWN: Final = (
    (GROUP, "inferencepools routingpolicies powerbudgets gpunodes", "list", "", ""),
    ("", "nodes pods events", "list", "", ""),
    (LEASES, "leases", "get", SYSTEM_NAMESPACE, "ingle-operator"),
    ("", "pods", "list", SYSTEM_NAMESPACE, ""),
    ("", "pods/proxy", "get", SYSTEM_NAMESPACE, "ingle-scheduler-0:9490"),
)


def _rights(rows: tuple[tuple[str, str, str, str, str], ...]) -> Iterator[Right]:
    for group, resources, verbs, namespace, name in rows:
        for resource in resources.split():
            yield from (Right(verb, group, resource, namespace, name) for verb in verbs.split())


NEEDS: Final = {account: tuple(_rights(rows)) for account, rows in _NEEDS.items()}
"""By service account of ingle-system."""

OWN: Final = tuple(_rights(_OWN))
"""Of whoever runs `ingle`."""
