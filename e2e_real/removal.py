"""Removal in the order that docs/install.md gives, and what may be left after it."""

from __future__ import annotations

import json

from ingle_lab.gpu import read_gpus
from ingle_lab.realnode import RealNode

from .cluster import SYSTEM, Cluster, Object

CAP_W = 4500
HOST_W = 500


def limits_w(node: RealNode) -> list[float]:
    """The GPUs' power limits, as the driver has them."""
    return [gpu.limit_w for gpu in read_gpus(node.lab / "gpus" / "gpus.state")]


def within_cap(node: RealNode) -> bool:
    return sum(limits_w(node)) <= CAP_W - HOST_W


def cap(cluster: Cluster, node: RealNode) -> list[float]:
    """Applies a budget; once it is kept, returns the limits that the GPUs had before."""
    own = limits_w(node)
    budget = {
        "apiVersion": "ingle.dev/v1alpha1",
        "kind": "PowerBudget",
        "metadata": {"name": "all"},
        "spec": {"watts": CAP_W, "mode": "Guaranteed", "hostWatts": HOST_W},
    }
    cluster.apply(budget)
    cluster.until("limits within the cap", lambda: within_cap(node), 30)
    return own


def uncap(cluster: Cluster, node: RealNode, own: list[float]) -> None:
    """Deletes budgets and waits until the GPUs have their own limits again."""
    cluster.kubectl("delete", "powerbudgets", "--all")
    cluster.until("the GPUs' own limits", lambda: limits_w(node) == own, 30)


def uninstall(cluster: Cluster) -> None:
    """Ends pools, then the release. Fails the test where anything stays but the four kinds, which say `keep`."""
    objects = cluster.release()
    kept = {o["metadata"]["name"] for o in objects if _keeps(o)}
    assert len(kept) == 4
    cluster.kubectl("delete", "inferencepools,routingpolicies", "--all", "--all-namespaces")
    cluster.until("engines to end", lambda: not cluster.items("pods", "-n", "chat"), 60)
    cluster.helm("uninstall", "--wait")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_plain(o) for o in objects]})
    left = cluster.kubectl("get", "--ignore-not-found", "-o", "name", "-f", "-", text=text).split()
    assert {name.partition("/")[2] for name in left} == kept
    cluster.until("our pods to end", lambda: not cluster.items("pods", "-n", SYSTEM), 60)


def delete_spaces_and_kinds(cluster: Cluster) -> None:
    """What a user removes at last. Fails the test where a namespace or a kind gets stuck."""
    cluster.kubectl("delete", "namespace", SYSTEM, "chat", "--timeout=60s")
    cluster.forget_tokens()
    cluster.kubectl("delete", "crd", "-l", "app.kubernetes.io/part-of=ingle", "--timeout=60s")


def _keeps(obj: Object) -> bool:
    return (obj["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"


def _plain(obj: Object) -> Object:
    named = {name: obj["metadata"][name] for name in ("name", "namespace") if name in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": named}
