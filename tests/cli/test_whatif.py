"""`ingle whatif` and `ingle explain node` against a real API server, with the real extender and without any."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_kit import names

from .conftest import MADE, Cluster, condition
from .test_command import user_kubeconfig


def pool_file(folder: Path, name: str = "new", **spec: Any) -> str:
    """A file with one pool that asks for 40 000 MiB and 400 W on one GPU."""
    memory = {"awake": spec.pop("awake", 40000), "asleep": 2000, "host": spec.pop("host", 0)}
    variant = {"name": "bf16", "gpus": spec.pop("gpus", 1), "memoryMiB": memory}
    variant |= {"watts": {"busy": 400, "idle": 90}}
    whole = {"model": "example/new", "engine": {"kind": "VLLM", "image": "x"}, "variants": [variant]} | spec
    obj = {
        "apiVersion": names.INFERENCE_POOL.api_version,
        "kind": "InferencePool",
        "metadata": {"name": name, "namespace": "chat"},
        "spec": whole,
    }
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat"}}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all([other, obj]))
    return str(file)


def versions(cluster: Cluster) -> dict[str, str]:
    """resourceVersion by UID; not of Nodes, to which Kubernetes itself does things in the meantime."""
    listed = [obj for kind in (*MADE, names.GPU_NODE) for obj in cluster.run(cluster.kube.list(kind))[0]]
    listed += cluster.run(cluster.kube.list(names.LEASE, names.SYSTEM_NAMESPACE))[0]
    ours = [obj["metadata"] for obj in listed if obj.get("involvedObject", {}).get("kind") != "Node"]
    return {one["uid"]: one["resourceVersion"] for one in ours}


def allowed(
    cluster: Cluster, user: str, verb: str, resource: str, name: str = "", namespace: str = ""
) -> bool:
    """What the API server's authorizer says of this user."""
    review = names.Kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
    plural, _, sub = resource.partition("/")
    wish = {"verb": verb, "resource": plural, "subresource": sub, "name": name, "namespace": namespace}
    wish |= {"group": names.GROUP if plural in ("gpunodes", "inferencepools") else ""}
    body: dict[str, Any] = {"apiVersion": review.api_version, "kind": review.kind}
    body |= {"spec": {"user": user, "resourceAttributes": wish}}
    return bool(cluster.run(cluster.kube.create(review, body))["status"]["allowed"])


def until_true(check: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """The authorizer hears of a new binding by watch, a moment after it is made."""
    end_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end_s, f"not within {timeout_s} s"
        time.sleep(0.02)


def test_replicas_are_placed_in_turn_and_the_scheduler_and_the_objects_say_the_same(
    cluster: Cluster, tmp_path: Path, extender: str
) -> None:
    cluster.node("gpu-1", claims=(("x", 40000, 300),), watts=1000)
    cluster.node("gpu-2", watts=1000)
    cluster.node("gpu-3", labels={"zone": "b"})
    file = pool_file(tmp_path, replicas={"min": 2, "max": 3}, warm={"asleep": 1})
    before = versions(cluster)

    def asked() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cluster.ingle("whatif", "-f", file, "-o", "json").out)
        return found

    until_true(lambda: len(asked()["replicas"]) == 3)  # the extender hears of the nodes by watch
    told = asked()
    cluster.run(cluster.kube.delete(names.POD, "scheduler-0", names.SYSTEM_NAMESPACE, grace_s=0))
    own = asked()

    assert (told["answeredBy"], own["answeredBy"], told["checkedBy"]) == ("Scheduler", "Command", "APIServer")
    assert told["replicas"] == own["replicas"]
    first = told["replicas"][0]
    assert (first["node"], first["gpus"], first["zones"]) == ("gpu-1", ["GPU-gpu-1"], [0])
    assert (first["wattsGrowth"], first["wattsSpare"]) == (400, 300)
    assert {one["node"] for one in told["replicas"]} == {"gpu-1", "gpu-2", "gpu-3"}
    after = versions(cluster)
    assert {uid: before[uid] for uid in after} == after


def test_what_fits_nowhere_is_told_by_classes_of_nodes_and_who_would_sleep(
    cluster: Cluster, tmp_path: Path
) -> None:
    pods = [cluster.pod(f"old-{i}", node=f"gpu-{i}") for i in range(2)]
    counts = {"awake": 2, "asleep": 0, "starting": 0, "wanted": 0}
    cluster.pool("small", replicas=counts, conditions=[condition("Ready", "True", "Serving")])
    for i, pod in enumerate(pods):
        cluster.node(f"gpu-{i}", claims=((pod["metadata"]["uid"], 50000, 400),))
    cluster.node("gpu-2", mib=20000)
    file = pool_file(tmp_path)
    before = versions(cluster)
    said = cluster.ingle("whatif", "-f", file)
    found = json.loads(cluster.ingle("whatif", "-f", file, "-o", "json").out)

    assert said.code == 0
    assert "0 of 1 new engine would find room now" in said.out
    assert "3  InsufficientMemory  gpu-0" in said.out
    assert "asks for 1 × 40000 MiB; the emptiest GPUs have 30000 MiB left" in said.out
    assert "It would fit on gpu-0 once these give way" in said.out
    assert found["refused"][0]["nodes"] == 3
    victim = {key: found["room"]["victims"][0][key] for key in ("podUID", "pool", "to")}
    assert victim == {"podUID": pods[0]["metadata"]["uid"], "pool": "chat/small", "to": "Asleep"}
    assert versions(cluster) == before


def test_spares_that_nobody_wants_awake_find_a_place_where_all_memory_is_claimed(
    cluster: Cluster, tmp_path: Path
) -> None:
    pod = cluster.pod("old", node="gpu-1")
    cluster.node("gpu-1", claims=((pod["metadata"]["uid"], 50000, 400),))
    file = pool_file(tmp_path, warm={"asleep": 1, "level": "Spare"})
    said = cluster.ingle("whatif", "-f", file)
    assert "1 of 1 new engine would find room now" in said.out
    assert "nothing of it is claimed until it is loaded" in " ".join(said.out.split())
    awake = cluster.ingle("whatif", "-f", file, "--replicas", "1")
    assert "0 of 1 new engine would find room now" in awake.out


def test_a_pool_that_breaks_a_rule_is_refused_with_the_field(cluster: Cluster, tmp_path: Path) -> None:
    wrong = cluster.ingle("whatif", "-f", pool_file(tmp_path, replicas={"min": 3, "max": 2}))
    typo = cluster.ingle("whatif", "-f", pool_file(tmp_path, replica={"min": 1}))

    assert (wrong.code, wrong.out) == (1, "")
    assert "spec.replicas.min: " in wrong.err
    assert "replicas.min must not be above replicas.max" in wrong.err
    assert (typo.code, typo.out) == (1, "")
    assert "spec.replica" in typo.err
    assert cluster.run(cluster.kube.list(names.INFERENCE_POOL))[0] == []


def test_a_change_of_a_pool_that_exists_is_tried_as_a_change(cluster: Cluster, tmp_path: Path) -> None:
    cluster.pool("small")
    cluster.node("gpu-1")
    before = versions(cluster)
    said = cluster.ingle("whatif", "-f", pool_file(tmp_path, "small", awake=50000))

    assert said.code == 0, said.err
    assert "it would be changed" in said.out
    assert "1 of 1 new engine would find room now" in said.out
    assert versions(cluster) == before


def test_a_reader_asks_without_any_right_to_write(cluster: Cluster, tmp_path: Path) -> None:
    cluster.node("gpu-1")
    viewer = user_kubeconfig(cluster, tmp_path, "ingle-view")
    user = f"system:serviceaccount:chat:{tmp_path.name.replace('_', '-')}"
    binding = names.Kind(
        "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
    )
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ingle-view-cluster"}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]
    cluster.put(binding, f"{tmp_path.name.replace('_', '-')}-view", {"roleRef": ref, "subjects": subjects})
    until_true(lambda: allowed(cluster, user, "list", "gpunodes"))
    said = cluster.ingle("whatif", "-f", pool_file(tmp_path), kubeconfig=viewer)
    wrong = cluster.ingle(
        "whatif", "-f", pool_file(tmp_path, replicas={"min": 3, "max": 2}), kubeconfig=viewer
    )

    assert said.code == 2
    assert "may not create inferencepools.ingle.dev in namespace chat" in said.err
    assert "you may not ask the API server" in said.out
    assert "1 of 1 new engine would find room now" in said.out
    assert (wrong.code, wrong.out) == (1, "")
    assert "replicas.min must not be above" in wrong.err


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"awake": 90000}, "no engine would start: VariantFitsNoGPU"),
        ({"placement": {"nodeSelector": {"zone": "b"}}}, "no engine would start: VariantFitsNoGPU"),
        ({"gpus": 2}, "no engine would start: VariantFitsNoGPU"),
    ],
)
def test_a_pool_that_no_node_could_hold_is_told_so(
    cluster: Cluster, tmp_path: Path, spec: dict[str, Any], text: str
) -> None:
    cluster.node("gpu-1")

    assert text in cluster.ingle("whatif", "-f", pool_file(tmp_path, **spec)).out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not YAML"),
        ("kind: Pod", "has 0 InferencePools"),
        ("kind: InferencePool\napiVersion: ingle.dev/v1alpha1", "metadata.name"),
    ],
)
def test_a_file_without_a_pool_is_one_sentence(
    cluster: Cluster, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "file").write_text(text)
    said = cluster.ingle("whatif", "-f", str(tmp_path / "file"))

    assert (said.code, said.out) == (2, "")
    assert sentence in said.err


def test_a_node_says_what_it_holds_and_whether_it_takes_more(cluster: Cluster) -> None:
    pod = cluster.pod("small-a", node="gpu-1")
    cluster.node("gpu-1", claims=((pod["metadata"]["uid"], 50000, 400),), watts=500)
    found = json.loads(cluster.ingle("explain", "node", "gpu-1", "--ask", "40000", "-o", "json").out)
    gpu = found["gpus"][0]

    assert (gpu["claimedMiB"], gpu["freeMiB"], gpu["headroomMiB"]) == (50000, 30000, 30000)
    assert (gpu["floorWatts"], gpu["claimedWatts"], gpu["limitWatts"]) == (100, 400, None)
    assert (found["spareWatts"], found["cordoned"], found["ready"]) == (100, False, True)
    holder = found["holders"][0]
    assert (holder["pod"], holder["state"], holder["memoryMiB"]) == ("chat/small-a", "Awake", 50000)
    assert found["takes"]["reason"] == "InsufficientMemory"


def test_a_cordoned_or_silent_node_takes_nothing_and_says_why(cluster: Cluster) -> None:
    cluster.node("gpu-1", heard_s=600)
    cluster.node("gpu-2")
    patch = {"spec": {"unschedulable": True}}
    cluster.run(cluster.kube.merge_patch(names.NODE, "gpu-2", patch))
    silent, cordoned = (cluster.ingle("explain", f"node/gpu-{i}").out for i in (1, 2))

    assert "It would not take a new pod: AgentSilent: last heard 10 min ago" in silent
    assert "It would not take a new pod: Cordoned: node is cordoned" in cordoned
    assert "ready, cordoned; agent heard" in cordoned


def test_an_ask_that_is_none_is_one_sentence(cluster: Cluster) -> None:
    said = cluster.ingle("explain", "node/gpu-1", "--ask", "2 GPUs")

    assert (said.code, said.out) == (2, "")
    assert "write MiB, as 40000" in said.err


def test_a_viewer_may_read_what_the_scheduler_sees_and_no_more(cluster: Cluster) -> None:
    group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "apiGroup": group, "name": "viewer"}]
    wide = names.Kind(group, "v1", "clusterrolebindings", "ClusterRoleBinding", False)
    narrow = names.Kind(group, "v1", "rolebindings", "RoleBinding", True)
    for kind, role, name, where in (
        (wide, "ClusterRole", "ingle-view-cluster", None),
        (narrow, "Role", "ingle-view-scheduler", names.SYSTEM_NAMESPACE),
    ):
        ref = {"apiGroup": group, "kind": role, "name": name}
        cluster.put(kind, f"viewer-{name}", {"roleRef": ref, "subjects": subjects}, None, where)

    def may(verb: str, resource: str, name: str = "", namespace: str = names.SYSTEM_NAMESPACE) -> bool:
        return allowed(cluster, "viewer", verb, resource, name, namespace)

    port = names.PORT_EXTENDER
    until_true(lambda: may("get", "pods/proxy", f"ingle-scheduler-0:{port}"))
    until_true(lambda: may("list", "gpunodes"))
    assert may("list", "nodes")
    assert may("list", "pods", namespace="chat")
    for verb, resource, name in (
        ("create", "pods/proxy", f"ingle-scheduler-0:{port}"),
        ("get", "pods/proxy", "ingle-scheduler-0:1"),
        ("get", "pods/proxy", f"ingle-router-0:{port}"),
        ("get", "secrets", ""),
        ("create", "inferencepools", ""),
        ("patch", "gpunodes", ""),
    ):
        assert not may(verb, resource, name), (verb, resource, name)
