"""`helm install` on a real node: how soon a model answers, and what it runs as."""

from __future__ import annotations

from .cluster import SYSTEM, Cluster, Installed

TARGET_S = 60.0


def test_the_first_pool_answers_within_a_minute(installed: Installed) -> None:
    print(f"helm install to first answer: {installed.took_s:.1f} s")
    assert installed.took_s <= TARGET_S


def test_every_pod_becomes_ready_and_none_has_failed(cluster: Cluster, installed: Installed) -> None:
    cluster.until("our pods to be ready", cluster.own_pods_ready, 60)
    restarts = {
        f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
        for pod in cluster.items("pods", "-n", SYSTEM)
        for status in pod["status"]["containerStatuses"] + pod["status"].get("initContainerStatuses", [])
    }
    assert not [name for name, count in restarts.items() if count], restarts


def test_the_agent_has_found_the_nodes_gpus(cluster: Cluster, installed: Installed) -> None:
    (node,) = cluster.items("gpunodes")
    assert len(node["spec"]["gpus"]) == 8


def test_the_ledger_and_the_engines_agree(cluster: Cluster, installed: Installed) -> None:
    cluster.until("engines and ledger to agree", lambda: not cluster.disagreements(), 30)


def test_a_container_with_gpus_sees_those_that_were_chosen_for_it(
    cluster: Cluster, installed: Installed
) -> None:
    (pod,) = cluster.items("pods", "-n", "chat", "-l", "ingle.dev/pool=first")
    words = ("-n", "chat", "exec", pod["metadata"]["name"], "--", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES")
    assert cluster.kubectl(*words).strip() == pod["metadata"]["annotations"]["ingle.dev/gpus"]
