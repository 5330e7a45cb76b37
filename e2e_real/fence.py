"""The fence around a managed node: a holder pod has its GPUs, and others' pods that ask for one wait."""

from __future__ import annotations

from ingle_kit.names import LABEL_MANAGED

from .cluster import SYSTEM, Cluster, Object
from .pods import resting, running

GPU = "nvidia.com/gpu"
TEAM = "team"
NAME = "train"


def held_by(cluster: Cluster) -> list[str]:
    """Who has each GPU of the node, as the agent heard it from the kubelet."""
    (node,) = cluster.items("gpunodes")
    return [gpu.get("heldBy", "") for gpu in node.get("status", {}).get("gpus", ())]


def holders(cluster: Cluster) -> list[Object]:
    return cluster.items("pods", "-n", SYSTEM, "-l", "ingle.dev/component=holder")


def raise_up(cluster: Cluster) -> None:
    """Manages the node; returns when the kubelet has given all its GPUs to a holder."""
    cluster.kubectl("label", "nodes", "--all", f"{LABEL_MANAGED}=true")
    cluster.until("a holder to have all GPUs", lambda: set(held_by(cluster)) == {"Holder"}, 90)


def take_down(cluster: Cluster) -> None:
    cluster.kubectl("label", "nodes", "--all", f"{LABEL_MANAGED}-")


def ask_for_a_gpu(cluster: Cluster) -> None:
    """Another team's pod, for the default scheduler."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}})
    cluster.apply(resting(cluster, TEAM, NAME, limits={GPU: "1"}, runtimeClassName="nvidia"))


def waits(cluster: Cluster) -> bool:
    """Whether the default scheduler has found no GPU for it."""
    conditions = cluster.get("pod", NAME, "-n", TEAM)["status"].get("conditions", ())
    return any(
        c["type"] == "PodScheduled" and f"Insufficient {GPU}" in c["message"]
        for c in conditions
        if "message" in c
    )


def runs(cluster: Cluster) -> bool:
    return running(cluster, TEAM, NAME)


def forget(cluster: Cluster) -> None:
    cluster.kubectl("delete", "namespace", TEAM, "--ignore-not-found", "--timeout=60s")
