"""Holder pods on a real kubelet, which gives devices of a device plugin: the fence, and that it goes again.

The GPUs are simulated; the device plugin's interface, what the kubelet gives to whom and what it tells are real.
"""

from __future__ import annotations

from . import fence
from .cluster import Cluster, Installed
from .pods import devices, environment


def test_a_holder_gets_all_gpus_of_a_managed_node_by_the_default_scheduler(
    cluster: Cluster, installed: Installed
) -> None:
    assert set(fence.held_by(cluster)) == {"Nobody"}
    fence.raise_up(cluster)
    (holder,) = fence.holders(cluster)
    assert holder["spec"]["schedulerName"] == "default-scheduler"
    assert holder["spec"]["containers"][0]["resources"]["limits"][fence.GPU] == "8"


def test_a_pod_of_others_that_asks_for_a_gpu_waits(cluster: Cluster, installed: Installed) -> None:
    fence.ask_for_a_gpu(cluster)
    cluster.until("the default scheduler to find no GPU", lambda: fence.waits(cluster), 30)
    assert not fence.runs(cluster)
    assert cluster.answering("first")


def test_it_runs_when_the_node_is_given_back(cluster: Cluster, installed: Installed) -> None:
    fence.take_down(cluster)
    cluster.until("holders to go", lambda: not fence.holders(cluster), 60)
    cluster.until("the waiting pod to run", lambda: fence.runs(cluster), 60)
    cluster.until("its GPU to count as another's", lambda: fence.held_by(cluster).count("Other") == 1, 60)
    pod = cluster.get("pod", fence.NAME, "-n", fence.TEAM)
    (node,) = cluster.items("gpunodes")
    (gpu,) = [n for n, one in enumerate(node["status"]["gpus"]) if one["heldBy"] == "Other"]
    assert devices(cluster, fence.TEAM, fence.NAME, "main") == {f"/dev/nvidia{gpu}"}
    assert environment(pod, "main")["NVIDIA_VISIBLE_DEVICES"] == "void"  # the runtime has done its work


def test_its_end_frees_the_gpu(cluster: Cluster, installed: Installed) -> None:
    fence.forget(cluster)
    cluster.until("no GPU to be given", lambda: set(fence.held_by(cluster)) == {"Nobody"}, 60)
    cluster.until("the model to answer", lambda: cluster.answering("first"), 60)
    cluster.until("engines and ledger to agree", lambda: not cluster.disagreements(), 60)
