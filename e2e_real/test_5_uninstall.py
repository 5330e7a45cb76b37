"""Uninstall in the order that docs/install.md gives: caps go back, and nothing stays but what says `keep`."""

from __future__ import annotations

import json

from ingle_lab.gpu import read_gpus
from ingle_lab.realnode import RealNode

from .cluster import SYSTEM, Cluster, Installed

CAP_W = 4500
HOST_W = 500


def limits_w(node: RealNode) -> list[float]:
    return [gpu.limit_w for gpu in read_gpus(node.lab / "gpus" / "gpus.state")]


def test_a_budget_lowers_limits_and_its_end_gives_them_back(
    cluster: Cluster, installed: Installed, node: RealNode
) -> None:
    own = limits_w(node)
    budget = {
        "apiVersion": "ingle.dev/v1alpha1",
        "kind": "PowerBudget",
        "metadata": {"name": "all"},
        "spec": {"watts": CAP_W, "mode": "Guaranteed", "hostWatts": HOST_W},
    }
    cluster.apply(budget)
    cluster.until("limits within the cap", lambda: sum(limits_w(node)) <= CAP_W - HOST_W, 30)
    cluster.kubectl("delete", "powerbudgets", "--all")
    cluster.until("the GPUs' own limits", lambda: limits_w(node) == own, 30)


def test_nothing_stays_but_what_says_keep(cluster: Cluster, installed: Installed) -> None:
    objects = cluster.release()
    kept = {o["metadata"]["name"] for o in objects if keeps(o)}
    assert len(kept) == 4
    cluster.kubectl("delete", "inferencepools,routingpolicies", "--all", "--all-namespaces")
    cluster.until("engines to end", lambda: not cluster.items("pods", "-n", "chat"), 60)
    cluster.helm("uninstall", "--wait")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [plain(o) for o in objects]})
    left = cluster.kubectl("get", "--ignore-not-found", "-o", "name", "-f", "-", text=text).split()
    assert {name.partition("/")[2] for name in left} == kept
    cluster.until("our pods to end", lambda: not cluster.items("pods", "-n", SYSTEM), 60)


def test_no_namespace_gets_stuck(cluster: Cluster, installed: Installed) -> None:
    cluster.kubectl("delete", "namespace", SYSTEM, "chat", "--timeout=60s")
    cluster.kubectl("delete", "crd", "-l", "app.kubernetes.io/part-of=ingle", "--timeout=60s")


def keeps(obj: dict[str, object]) -> bool:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    return (metadata.get("annotations") or {}).get("helm.sh/resource-policy") == "keep"


def plain(obj: dict[str, object]) -> dict[str, object]:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    named = {name: metadata[name] for name in ("name", "namespace") if name in metadata}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": named}
