"""Both ways in which chosen GPUs come into an engine's container, by NVIDIA's runtime; devices are simulated."""

from __future__ import annotations

import copy

from ingle_lab.gpu import read_gpus
from ingle_lab.realnode import RealNode

from .cluster import SYSTEM, Cluster, Installed, Object, first_pool
from .pods import devices, environment

CHOSEN = "ingle.dev/gpus"


def engine_of(cluster: Cluster, pool: str) -> Object:
    (pod,) = cluster.items("pods", "-n", "chat", "-l", f"ingle.dev/pool={pool}")
    return pod


def sees_what_was_chosen(cluster: Cluster, node: RealNode, pod: Object) -> None:
    """The runtime gave it those GPUs' devices, no other ones, and what CDI puts in beside them."""
    metadata = pod["metadata"]
    uuids = [gpu.uuid for gpu in read_gpus(node.lab / "gpus" / "gpus.state")]
    chosen = metadata["annotations"][CHOSEN].split(",")
    container = pod["spec"]["containers"][0]["name"]
    seen = devices(cluster, "chat", metadata["name"], container)
    assert seen == {f"/dev/nvidia{uuids.index(uuid)}" for uuid in chosen}
    variables = environment(pod, container)
    assert variables["CUDA_VISIBLE_DEVICES"] == ",".join(chosen)
    assert variables["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"


def test_by_the_variable_that_nvidias_runtime_reads(
    cluster: Cluster, installed: Installed, node: RealNode
) -> None:
    pod = engine_of(cluster, "first")
    assert not [name for name in pod["metadata"]["annotations"] if name.startswith("cdi.k8s.io/")]
    sees_what_was_chosen(cluster, node, pod)


def test_by_cdi(cluster: Cluster, installed: Installed, node: RealNode) -> None:
    changed = copy.deepcopy(installed.values) | {"gpus": {"attach": "CDI"}}
    cluster.helm("upgrade", values=changed)
    try:
        cluster.rolled_out()
        (agent,) = cluster.items("pods", "-n", SYSTEM, "-l", "ingle.dev/component=agent")
        assert len(devices(cluster, SYSTEM, agent["metadata"]["name"], "agent")) == 8
        pool = first_pool()
        pool["metadata"]["name"] = "second"
        pool["spec"] |= {"aliases": ["second"], "model": "second/quick"}
        cluster.apply(pool)
        cluster.until("a model attached by CDI to answer", lambda: cluster.answering("second"), 90)
        pod = engine_of(cluster, "second")
        annotations = pod["metadata"]["annotations"]
        named = [f"nvidia.com/gpu={uuid}" for uuid in annotations[CHOSEN].split(",")]
        assert annotations["cdi.k8s.io/ingle_gpus"].split(",") == named
        (variable,) = [
            one for one in pod["spec"]["containers"][0]["env"] if one["name"] == "NVIDIA_VISIBLE_DEVICES"
        ]
        assert variable["value"] == "void"
        sees_what_was_chosen(cluster, node, pod)
    finally:
        cluster.kubectl("delete", "ipool", "second", "-n", "chat", "--ignore-not-found", "--wait=true")
        cluster.helm("rollback")
        cluster.rolled_out()
    cluster.until("engines and ledger to agree", lambda: not cluster.disagreements(), 60)
