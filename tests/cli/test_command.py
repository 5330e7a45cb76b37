"""`ingle` as a user runs it, against a real API server; the extender is the real process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingle_kit import names
from ingle_lab.controlplane.kubeconfig import write_kubeconfig

from .conftest import Cluster, condition, placement, stamp


def user_kubeconfig(cluster: Cluster, folder: Path, *rights: str) -> Path:
    """Of a service account of namespace chat that has these ClusterRoles there."""
    name = folder.name.replace("_", "-")
    cluster.put(names.SERVICE_ACCOUNT, name, {}, None, "chat")
    for role in rights:
        binding = names.Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "chat"}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        cluster.put(binding, f"{name}-{role}", {"roleRef": ref, "subjects": [subject]}, None, "chat")
    token = cluster.plane.service_account_token("chat", name)
    return cluster.plane.token_kubeconfig(folder / "kubeconfig", token)


def test_an_empty_cluster_is_told_to_be_empty(cluster: Cluster) -> None:
    said = cluster.ingle("status")

    assert said.code == 0
    assert said.err == ""
    assert said.out.startswith("Operator: nobody leads")
    assert "No InferencePools in namespace default (-A: all).\n" in said.out


def test_the_program_runs_as_kubectl_would_run_it(cluster: Cluster) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(cluster.plane.kubeconfig),
        "PYTHONIOENCODING": "ascii",
    }
    command = [sys.executable, "-m", "ingle_cli.main", "explain", "pool/nix"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ingle: There is no InferencePool nix in namespace default; -n names another.\n"


def test_status_shows_what_stands_in_the_objects(cluster: Cluster) -> None:
    counts = {"awake": 1, "asleep": 2, "starting": 0, "wanted": 1}
    cluster.pool("small", replicas=counts, conditions=[condition("Ready", "True", "Serving")])
    cluster.node("gpu-1", claims=(("u", 40000, 400),), watts=1000)
    budget = {"capWatts": 4000, "drawWatts": 1200, "allottedWatts": 3000, "nodes": 1, "state": "Normal"}
    budget |= {"conditions": [condition("Ready", "True", "WithinCap")]}
    cluster.put(names.POWER_BUDGET, "hall", {"spec": {"watts": 4000}}, budget)
    policy = {"conditions": [condition("Accepted", "False", "PoolNotFound", "no pool x")]}
    cluster.put(names.ROUTING_POLICY, "team", {"spec": {"models": ["m"]}}, policy, "chat")
    lease = {"holderIdentity": "op-0_uid", "leaseDurationSeconds": 3600, "leaseTransitions": 2}
    lease |= {"renewTime": stamp().replace("Z", ".000000Z")}
    cluster.put(names.LEASE, "ingle-operator", {"spec": lease}, None, names.SYSTEM_NAMESPACE)

    rows = [line.split() for line in cluster.ingle("status", "-n", "chat").out.splitlines() if line]

    assert rows[0][:5] == ["Operator:", "op-0", "leads", "(epoch", "2),"]
    assert ["small", "1", "2", "0", "1", "0", "400", "True", "Serving"] in rows
    assert ["gpu-1", "1", "40000/80000", "400/1000"] in [row[:4] for row in rows]
    assert ["hall", "4000", "4000", "3000", "1200", "1", "Normal", "True", "WithinCap"] in rows
    assert ["team", "1", "-", "False", "PoolNotFound"] in rows


def test_an_object_that_nobody_has_seen_says_so_from_the_first_moment(cluster: Cluster) -> None:
    assert cluster.pool("new")["status"] == {"observedGeneration": -1}
    assert "NotSeenYet" in cluster.ingle("status", "-n", "chat").out


def test_json_has_every_pool_of_all_namespaces(cluster: Cluster) -> None:
    cluster.pool("one")
    cluster.pool("two", "default")
    found = json.loads(cluster.ingle("status", "-A", "-o", "json").out)

    assert [(p["namespace"], p["name"]) for p in found["pools"]] == [("chat", "one"), ("default", "two")]
    assert found["namespace"] is None
    assert found["pools"][0]["tiers"] == {}
    assert found["pools"][0]["chargedWatts"] == 0
    assert {c["type"]: c["status"] for c in found["pools"][0]["conditions"]}["Stalled"] == "Unknown"


def test_the_context_names_the_namespace_and_a_flag_beats_it(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = [str(cluster.plane.kubectl), "--kubeconfig", str(tmp_path / "config"), "config"]
    (tmp_path / "config").write_text(cluster.plane.kubeconfig.read_text())
    view = subprocess.run([*kubectl, "view", "-o", "json"], check=True, capture_output=True).stdout
    first = json.loads(view)["contexts"][0]["context"]
    set_ = [
        "set-context",
        "second",
        f"--cluster={first['cluster']}",
        f"--user={first['user']}",
        "--namespace=chat",
    ]
    subprocess.run([*kubectl, *set_], check=True, capture_output=True)
    cluster.pool("here")
    words = ("status", "--kubeconfig", str(tmp_path / "config"), "--context", "second")

    assert "here" in cluster.ingle(*words).out
    assert "No InferencePools in namespace default" in cluster.ingle(*words, "-n", "default").out
    wrong = cluster.ingle("status", "--context", "third")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "third" in wrong.err


def test_a_right_that_lacks_is_one_sentence_beside_what_may_be_seen(cluster: Cluster, tmp_path: Path) -> None:
    cluster.pool("small")
    viewer = user_kubeconfig(cluster, tmp_path, "ingle-view")
    said = cluster.ingle("status", "-n", "chat", kubeconfig=viewer)

    assert said.code == 2
    assert "small " in said.out
    assert "No PowerBudgets" not in said.out
    assert said.err.count("\n") == 1
    assert said.err.index("list gpunodes.ingle.dev") < said.err.index("list powerbudgets.ingle.dev")


def test_a_stranger_gets_one_sentence_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    stranger = user_kubeconfig(cluster, tmp_path)
    said = cluster.ingle("explain", "pool/small", "-n", "chat", kubeconfig=stranger)

    assert (said.code, said.out) == (2, "")
    assert said.err.endswith(
        "may not get inferencepools.ingle.dev in namespace chat: ask for that right, or choose another --context.\n"
    )


@pytest.mark.parametrize("token", ["", "wrong"])
def test_no_connection_and_wrong_credentials_are_one_sentence(
    cluster: Cluster, tmp_path: Path, token: str
) -> None:
    server = cluster.plane.server if token else "https://127.0.0.1:1"
    bad = write_kubeconfig(tmp_path / "bad", server, cluster.plane.ca_pem, token=token or "x")
    said = cluster.ingle("status", kubeconfig=bad)

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert ("does not accept your credentials" if token else "Cannot reach the API server") in said.err


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: b: c", "kind: Config\nclusters: 3\n"])
def test_a_broken_kubeconfig_is_one_sentence(cluster: Cluster, tmp_path: Path, text: str) -> None:
    (tmp_path / "broken").write_text(text)
    said = cluster.ingle("status", kubeconfig=tmp_path / "broken")

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert str(tmp_path / "broken") in said.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("explain", "pool/nix", "-n", "chat"), 1, "There is no InferencePool nix in namespace chat"),
        (("explain", "pod/nix", "-n", "chat"), 1, "There is no Pod nix in namespace chat"),
        (("explain", "node/nix"), 1, "There is no GPUNode nix."),
        (("explain", "--code", "Nix"), 1, "There is no reason 'Nix'"),
        (("explain", "small"), 2, "write pod/NAME, pool/NAME or node/NAME"),
        (("explain",), 2, "Say what to explain"),
        (("status", "-A", "-n", "chat"), 2, "exclude each other"),
    ],
)
def test_what_is_not_there_or_not_asked_well(
    cluster: Cluster, words: tuple[str, ...], code: int, sentence: str
) -> None:
    said = cluster.ingle(*words)

    assert (said.code, said.out) == (code, "")
    assert sentence in said.err


def test_a_pending_pod_is_explained_from_objects_where_no_scheduler_answers(cluster: Cluster) -> None:
    cluster.node("gpu-1", watts=300)
    cluster.node("gpu-2", claims=(("x", 60000, 300),))
    cluster.pod("small-a")
    said = cluster.ingle("explain", "pod/small-a", "-n", "chat")

    assert said.code == 0
    assert (
        "WHY PENDING: no node fits: 1 × InsufficientWatts, 1 × InsufficientMemory (from API objects"
        in said.out
    )
    assert "asks for 400 W; 200 W are not charged yet" in said.out


def test_a_placed_pod_is_explained_by_what_it_holds(cluster: Cluster) -> None:
    pod = cluster.pod("small-a", node="gpu-1")
    cluster.node("gpu-1", claims=((pod["metadata"]["uid"], 40000, 400),))
    cluster.node("gpu-2")
    said = cluster.ingle("explain", "pod/small-a", "-n", "chat")

    assert "Holds on gpu-1: 40000 MiB, 400 W on GPU-gpu-1, Awake since 3 d" in said.out
    assert "WHY HERE: asked again now, it would go to gpu-1" in said.out


def test_a_node_names_the_pods_that_hold_its_memory(cluster: Cluster) -> None:
    pod = cluster.pod("small-a", node="gpu-1")
    cluster.node("gpu-1", claims=((pod["metadata"]["uid"], 40000, 400), ("0123456789", 1000, 0)))
    out = cluster.ingle("explain", "node/gpu-1").out

    assert "41000/80000  39000        0     39000  Healthy\n" in out
    assert "It would take a new pod, on GPU-gpu-1: Fits" in out
    assert "chat/small-a" in out
    assert "chat/small (pod 01234567)" in out


def test_a_pod_of_another_scheduler_is_not_ours_to_explain(cluster: Cluster) -> None:
    cluster.pod("web", schedulerName="default-scheduler")

    assert "Ingle does not place it" in cluster.ingle("explain", "pod/web", "-n", "chat").out


def test_events_of_a_pool_stand_newest_first(cluster: Cluster) -> None:
    pool = cluster.pool("small")
    for ago_s, reason in ((50, "Started"), (5, "Woken")):
        about = {
            "kind": "InferencePool",
            "name": "small",
            "namespace": "chat",
            "uid": pool["metadata"]["uid"],
        }
        event = {"involvedObject": about, "reason": reason, "type": "Normal", "lastTimestamp": stamp(ago_s)}
        cluster.put(names.EVENT, f"small.{ago_s}", event, None, "chat")
    out = cluster.ingle("explain", "pool/small", "-n", "chat").out

    assert 0 < out.index("Woken") < out.index("Started")


async def filtered(url: str, pod: dict[str, Any], *nodes: str) -> dict[str, Any]:
    body = {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/filter", json=body) as answer:
        found: dict[str, Any] = await answer.json(content_type=None)
        return found


def test_the_scheduler_tells_what_it_decided_and_sees_now(cluster: Cluster, extender: str) -> None:
    cluster.node("gpu-1", watts=300)
    pod = cluster.pod("small-a", placement=placement(watts=500))

    async def refused() -> None:
        async with asyncio.timeout(20):
            while True:
                if "watts" in str(await filtered(extender, pod, "gpu-1")):
                    return
                await asyncio.sleep(0.05)

    cluster.run(refused())
    out = cluster.ingle("explain", "pod/small-a", "-n", "chat").out

    assert "The scheduler's last filter, " in out
    assert "WHY PENDING: no node fits: 1 × InsufficientWatts (seen by the scheduler)" in out
    assert "asks for 500 W; 200 W are not charged yet" in out
