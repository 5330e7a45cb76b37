"""The whole life of an older version: installed, upgraded to this one, rolled back, removed, with requests running.

Comes last, on a node from which everything of ours was removed.
"""

from __future__ import annotations

from ingle_lab.realnode import RealNode

from . import frozen, removal
from .cluster import Cluster, Traffic, first_pool
from .conftest import VALUES, make_namespace

OURS = "ingle.dev/v1alpha1"
POLICIES = ("routingpolicies,powerbudgets", "-A")
ADMISSION = (
    "validatingadmissionpolicies,validatingadmissionpolicybindings",
    "-l",
    "app.kubernetes.io/part-of=ingle",
)


def identities(cluster: Cluster, *words: str) -> dict[str, str]:
    """Ids by kind and name: they stay where an object is changed, not made anew."""
    return {f"{o['kind']} {o['metadata']['name']}": o["metadata"]["uid"] for o in cluster.items(*words)}


def engines(cluster: Cluster) -> set[str]:
    return set(identities(cluster, "pods", "-n", "chat").values())


def kinds(cluster: Cluster) -> dict[str, object]:
    """What each of our kinds says, by name."""
    found = cluster.items("crd", "-l", "app.kubernetes.io/part-of=ingle")
    return {kind["metadata"]["name"]: kind["spec"] for kind in found}


def picture(cluster: Cluster) -> tuple[object, ...]:
    """Engines, policies, what guards them, and kinds: a rollback brings all of them back."""
    guards = identities(cluster, *ADMISSION)
    return engines(cluster), identities(cluster, *POLICIES), guards, kinds(cluster)


def policy() -> dict[str, object]:
    spec = {"models": ["first/quick"], "permissions": [{"name": "everybody", "allow": "true"}]}
    metadata = {"name": "first", "namespace": "chat"}
    return {"apiVersion": OURS, "kind": "RoutingPolicy", "metadata": metadata, "spec": spec}


def test_an_older_version_is_upgraded_rolled_back_and_removed(cluster: Cluster, node: RealNode) -> None:
    make_namespace(cluster)
    cluster.helm("install", "--create-namespace", values=frozen.values(), chart=frozen.CHART)
    cluster.apply(first_pool())
    cluster.apply(policy())
    gateway = cluster.until("the first answer", lambda: cluster.answering("first"), 180)
    cluster.rolled_out()
    own_w = removal.cap(cluster, node)
    before = picture(cluster)
    assert all(before)
    with Traffic(gateway, cluster.token()) as traffic:
        cluster.helm("upgrade", values=VALUES)
        cluster.rolled_out()
        upgraded = len(traffic.answers)
        assert removal.within_cap(node)
        assert cluster.drift() == []
        assert identities(cluster, *POLICIES) == before[1]
        cluster.helm("rollback")
        cluster.rolled_out()
    print(f"{upgraded} answers during the upgrade, {len(traffic.answers) - upgraded} during the rollback")
    assert upgraded > 0
    assert traffic.failed == []
    assert picture(cluster) == before
    assert cluster.drift() == []
    assert removal.within_cap(node)
    removal.uncap(cluster, node, own_w)
    removal.uninstall(cluster)
    removal.delete_spaces_and_kinds(cluster)
