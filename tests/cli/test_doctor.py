"""`ingle doctor` against a real API server, and its checks on objects alone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_cli.doctor.checks import CHECKS, findings
from ingle_cli.doctor.facts import Facts, Found, Right, Unread
from ingle_cli.doctor.gather import FLOWS, GUARDS
from ingle_cli.doctor.installed import versions
from ingle_cli.doctor.needs import NEEDS
from ingle_cli.doctor.running import agents, clocks, scheduler, skew_s
from ingle_kit import names

from .conftest import Cluster, condition, stamp
from .test_command import user_kubeconfig

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "charts" / "manifests"
IMAGE = f"ingle.dev/ingle:{version('ingle')}"
ROLE_BINDING = names.Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
CLUSTER_ROLE_BINDING = names.Kind(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
)


def report(said: Any) -> dict[str, list[dict[str, str]]]:
    """Findings by check."""
    found: dict[str, list[dict[str, str]]] = {check.name: [] for check in CHECKS}
    for one in json.loads(said.out)["findings"]:
        found[one["check"]].append(one)
    return found


def levels(found: list[dict[str, str]]) -> set[str]:
    return {one["level"] for one in found}


def our_pod(cluster: Cluster, name: str, component: str, container: str, image: str = IMAGE) -> None:
    metadata = {"labels": {names.LABEL_COMPONENT: component}}
    spec = {"containers": [{"name": container, "image": image}], "nodeName": "system-0"}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp()}
    status = {"phase": "Running", "conditions": [ready]}
    cluster.put(names.POD, name, {"metadata": metadata, "spec": spec}, status, names.SYSTEM_NAMESPACE)


def lease(cluster: Cluster, name: str) -> None:
    spec = {"holderIdentity": f"{name}-0_x", "leaseDurationSeconds": 3600, "leaseTransitions": 1}
    spec["renewTime"] = stamp().replace("Z", ".000000Z")
    cluster.put(names.LEASE, name, {"spec": spec}, None, names.SYSTEM_NAMESPACE)


@pytest.fixture
def guarded(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """Admission policies that only take notes, for other tests write what they forbid; and flow schemas."""
    text = (MANIFESTS / "admission.yaml").read_text().replace("[Deny]", "[Audit]")
    (tmp_path / "admission.yaml").write_text(text)
    kubectl = [str(cluster.plane.kubectl), "--kubeconfig", str(cluster.plane.kubeconfig)]
    files = ["-f", str(tmp_path / "admission.yaml"), "-f", str(MANIFESTS / "flow.yaml")]
    subprocess.run([*kubectl, "apply", *files], check=True, capture_output=True)
    yield cluster
    subprocess.run([*kubectl, "delete", *files], check=True, capture_output=True)


def test_where_nothing_runs_each_thing_is_named_with_what_to_do(cluster: Cluster) -> None:
    said = cluster.ingle("doctor", "-o", "json")
    found = report(said)

    assert (said.code, said.err) == (1, "ingle: Something is wrong: see above.\n")
    for check in ("policies", "flow", "operator", "scheduler", "gateways", "agents"):
        assert "Bad" in levels(found[check]), check
    assert levels(found["kinds"]) == levels(found["rights"]) == levels(found["you"]) == {"Good"}
    assert found["policies"][0]["what"] == f"admission policy missing: {', '.join(GUARDS)}"
    assert all(
        one["todo"] and one["why"] for found_ in found.values() for one in found_ if one["level"] == "Bad"
    )


def test_where_all_is_well_it_says_so(guarded: Cluster, extender: str) -> None:
    guarded.run(
        guarded.kube.merge_patch(
            names.POD,
            "scheduler-0",
            {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp()}]}},
            names.SYSTEM_NAMESPACE,
            subresource="status",
        )
    )
    for component, container in (("operator", "operator"), ("gateway", "router"), ("agent", "agent")):
        our_pod(guarded, component, component, container)
    for name in ("ingle-operator", "ingle-scheduler"):
        lease(guarded, name)
    guarded.node("gpu-1")
    said = guarded.ingle("doctor", "-o", "json")
    found = report(said)

    assert said.code == 0, said.out
    assert {check for check, of in found.items() if "Good" in levels(of)} == found.keys()
    assert {check for check, of in found.items() if levels(of) != {"Good"}} == {"gateways"}  # no network here
    assert f"Ingle {version('ingle')} runs" in str(found["versions"])
    assert "answers on scheduler-0" in str(found["scheduler"])
    assert guarded.ingle("doctor").out.endswith("\nNothing wrong found, 1 thing not checked.\n")


def test_whoever_only_reads_is_told_what_was_not_checked(cluster: Cluster, tmp_path: Path) -> None:
    viewer = user_kubeconfig(cluster, tmp_path)
    subject = {"kind": "ServiceAccount", "name": tmp_path.name.replace("_", "-"), "namespace": "chat"}
    group = {"apiGroup": "rbac.authorization.k8s.io"}
    of_cluster = {
        "roleRef": group | {"kind": "ClusterRole", "name": "ingle-view-cluster"},
        "subjects": [subject],
    }
    of_system = {"roleRef": group | {"kind": "Role", "name": "ingle-view-scheduler"}, "subjects": [subject]}
    cluster.put(CLUSTER_ROLE_BINDING, "doctor-viewer", of_cluster)
    cluster.put(ROLE_BINDING, "doctor-viewer", of_system, None, names.SYSTEM_NAMESPACE)
    found = report(cluster.ingle("doctor", "-o", "json", kubeconfig=viewer))

    assert levels(found["you"]) == levels(found["kinds"]) == {"Good"}
    assert levels(found["rights"]) == {"Unchecked"}
    assert "may not create subjectaccessreviews.authorization.k8s.io" in found["rights"][0]["what"]
    assert levels(found["policies"]) == levels(found["flow"]) == {"Bad"}


def test_a_stranger_is_told_that_little_can_be_said(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.ingle("doctor", "-o", "json", kubeconfig=user_kubeconfig(cluster, tmp_path))
    found = report(said)

    assert said.code == 0
    assert {check for check, of in found.items() if "Unchecked" in levels(of)} >= {
        "kinds",
        "operator",
        "agents",
    }
    assert levels(found["you"]) == {"Note"}


def test_a_clock_is_measured_against_the_api_servers_own(cluster: Cluster) -> None:
    cluster.node("gpu-1", heard_s=70.0)
    cluster.node("gpu-2")
    found = report(cluster.ingle("doctor", "-o", "json"))["clocks"]

    assert [one["level"] for one in found] == ["Bad"]
    assert re.search(r"gpu-1 \(-(69|70|71) s\)", found[0]["what"]), found


def test_needs_are_what_the_manifests_grant() -> None:
    objects = list(yaml.safe_load_all((MANIFESTS / "rbac.yaml").read_text()))
    granted: dict[str, set[Right]] = {account: set() for account in NEEDS}
    for obj in objects:
        name, space = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        if obj["kind"] not in ("Role", "ClusterRole") or name not in granted:
            continue
        granted[name] |= {
            Right(verb, group, resource, space, only)
            for rule in obj["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for only in rule.get("resourceNames", [""])
        }
    assert {account: set(rights) for account, rights in NEEDS.items()} == granted


def test_guards_and_flows_are_those_of_the_manifests() -> None:
    def of(file: str, kind: str) -> list[str]:
        objects = yaml.safe_load_all((MANIFESTS / file).read_text())
        return sorted(obj["metadata"]["name"] for obj in objects if obj["kind"] == kind)

    assert list(GUARDS) == of("admission.yaml", "ValidatingAdmissionPolicyBinding")
    assert list(FLOWS) == of("flow.yaml", "FlowSchema")


PLURALS = ("inferencepools", "routingpolicies", "powerbudgets", "gpunodes")
NOTHING = Facts(1_800_000_000.0, "0.1.0", "v1.37.2", {}, [], [], [], [], {}, {}, {})


def pod(component: str, container: str, image: str) -> dict[str, Any]:
    return {
        "metadata": {"name": component, "labels": {names.LABEL_COMPONENT: component}},
        "spec": {"containers": [{"name": container, "image": image}]},
    }


@pytest.mark.parametrize(
    ("kubernetes", "images", "wrong"),
    [
        ("v1.34.9", (), ["Bad"]),
        ("v1.35.1-eks-4f4795d", ("r:5000/ingle:0.1.0@sha256:aa",), []),
        ("v1.37.2", ("ingle:0.1.0", "ingle:0.2.0"), ["Note"]),
        ("v1.37.2", ("ingle:v0.2.0",), ["Note"]),
        ("v1.37.2", ("ingle@sha256:aa",), []),
    ],
)
def test_versions_that_do_not_go_together(kubernetes: str, images: tuple[str, ...], wrong: list[str]) -> None:
    pods = [pod("operator", "operator", image) for image in images]
    found = list(versions(replace(NOTHING, kubernetes=kubernetes, pods=pods)))
    assert [one.level for one in found if one.level != "Good"] == wrong


def test_a_scheduler_newer_than_its_server_is_wrong() -> None:
    facts = replace(NOTHING, kubernetes="v1.36.0", pods=[pod("scheduler", "kube-scheduler", "x:v1.37.0")])
    assert any(one.level == "Bad" and "newer" in one.what for one in versions(facts))


def test_a_pod_that_no_scheduler_has_seen_and_one_that_waits_for_room_are_told_apart() -> None:
    def engine(name: str, *conditions: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "chat", "creationTimestamp": "2027-01-15T07:50:00Z"}
        return {"metadata": metadata, "spec": {}, "status": {"conditions": list(conditions)}}

    seen = condition("PodScheduled", "False", "Unschedulable")
    facts = replace(NOTHING, engines=[engine("unseen"), engine("waits", seen)])
    found = [one.what for one in scheduler(facts) if "looked" in one.what]
    assert found == ["no scheduler has looked at chat/unseen"]


def test_a_node_with_gpus_wants_an_agent() -> None:
    def node(name: str, **more: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": more.get("labels", {})}, "status": more}

    nodes = [
        node("plain"),
        node("plugin", capacity={"nvidia.com/gpu": "8"}),
        node("labelled", labels={"nvidia.com/gpu.present": "true"}),
    ]
    told = [{"metadata": {"name": "left"}, "status": {"heartbeatAt": "2027-01-15T08:00:00Z"}}]
    found = list(agents(replace(NOTHING, nodes=nodes, gpu_nodes=told)))
    assert any("no agent: labelled, plugin" in one.what for one in found)
    assert any(one.level == "Note" and "left" in one.what for one in found)


def test_without_rights_nothing_is_called_good_or_bad() -> None:
    no = Unread("you may not")
    facts = Facts(
        0.0,
        "0.1.0",
        no,
        {f"{plural}.ingle.dev": no for plural in PLURALS},
        no,
        no,
        no,
        no,
        {"ingle-operator": no, "ingle-scheduler": no},
        {"g": no},
        {"f": no},
    )
    found = findings(facts)
    assert {one.level for one in found} == {"Unchecked"}
    assert {one.check for one in found} == {check.name for check in CHECKS} - {"rights", "you"}


def test_what_the_server_did_not_stamp_has_no_skew() -> None:
    assert skew_s({"metadata": {}, "status": {"heartbeatAt": stamp()}}, "status", "heartbeatAt") is None
    assert list(clocks(NOTHING)) == []
    assert Found("Good", "x").todo == ""
