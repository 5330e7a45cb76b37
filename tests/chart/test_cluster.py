"""The rendered chart before a real API server: schemas, Pod Security, and Helm's install, upgrade and uninstall."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

Object = dict[str, Any]
OF_OTHERS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which is not here."""
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
OFTEN_CHANGED = {
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "PodDisruptionBudget",
    "FlowSchema",
    "ValidatingAdmissionPolicy",
}
"""Kinds whose status controllers write, which gives them new resource versions."""


def listed(objects: list[Object]) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": objects}


class Cluster:
    """The API server as administrator."""

    def __init__(self, plane: Any) -> None:
        self._kubectl = [str(plane.kubectl), "--kubeconfig", str(plane.kubeconfig)]
        self.access = ["--kubeconfig", str(plane.kubeconfig)]

    def kubectl(self, *words: str, objects: list[Object] | None = None) -> subprocess.CompletedProcess[str]:
        text = json.dumps(listed(objects)) if objects is not None else None
        command = [*self._kubectl, *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)

    def apply(self, objects: list[Object], *words: str) -> subprocess.CompletedProcess[str]:
        return self.kubectl("apply", "--server-side", "--validate=strict", *words, "-f", "-", objects=objects)

    def stored(self, objects: list[Object]) -> dict[str, Object]:
        """As the server has them, by kind and name."""
        done = self.kubectl("get", "--show-managed-fields", "-o", "json", "-f", "-", objects=objects)
        assert done.returncode == 0, done.stderr
        return {f"{o['kind']} {o['metadata']['name']}": o for o in json.loads(done.stdout)["items"]}


@pytest.fixture(scope="module")
def cluster(plane: Any) -> Cluster:
    cluster = Cluster(plane)
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in [("ingle-system", {}), ("chat", {}), ("code", {}), ("strict", RESTRICTED)]
    ]
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia"},
        "handler": "nvidia",
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "any", "namespace": "strict"},
    }
    done = cluster.apply([*spaces, runtime, account])
    assert done.returncode == 0, done.stderr
    return cluster


def test_the_api_server_takes_every_object(helm: Any, branches: Any, cluster: Cluster) -> None:
    """One of each that differs, by server-side apply as a dry run; a field that is not known is an error."""
    different = {
        json.dumps(obj, sort_keys=True): obj
        for values in branches.values()
        for obj in helm.render(values).objects
        if obj["kind"] not in OF_OTHERS
    }
    assert len(different) > 80
    done = cluster.apply(list(different.values()), "--dry-run=server")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("serverside-applied") == len(different)
    assert not done.stderr


def pods_of(rendered: Any) -> dict[str, Object]:
    """A pod from each template, for the strict namespace."""
    pods = {}
    for component, obj in rendered.workloads.items():
        template = obj["spec"]["template"]
        metadata = {**template["metadata"], "name": component, "namespace": "strict"}
        spec = {**template["spec"], "serviceAccountName": "any"}
        pods[component] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return pods


def test_all_but_agents_pass_pod_security_restricted(helm: Any, branches: Any, cluster: Cluster) -> None:
    pods = [
        pod
        for values in branches.values()
        for component, pod in pods_of(helm.render(values)).items()
        if component != "agent"
    ]
    different = [json.loads(text) for text in {json.dumps(pod, sort_keys=True) for pod in pods}]
    done = cluster.kubectl("create", "--dry-run=server", "-f", "-", objects=different)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created") == len(different) > 10


HOST = "host namespaces (hostPID=true), "
FOLDER = 'restricted volume types (volume "state" uses restricted volume type "hostPath")'
SOCKET = 'restricted volume types (volumes "state", "pod-resources" use restricted volume type "hostPath")'
ROOT = (
    ', runAsNonRoot != true (pod or container "agent" must set securityContext.runAsNonRoot=true),'
    " runAsUser=0 (pod must not set runAsUser=0)"
)
SETTER_ROOT = (
    ', runAsNonRoot != true (container "setter" must not set securityContext.runAsNonRoot=false),'
    ' runAsUser=0 (container "setter" must not set runAsUser=0)'
)


def adds(capability: str, name: str = "agent") -> str:
    container = f'container "{name}" must not include "{capability}" in securityContext.capabilities.add'
    return f"unrestricted capabilities ({container}), "


NEEDS = {
    "defaults": HOST + FOLDER,
    "agents that set limits": HOST + adds("SYS_ADMIN", "setter") + FOLDER + SETTER_ROOT,
    "agents in one process": HOST + adds("SYS_ADMIN") + FOLDER + ROOT,
    "agents that look at zones": HOST + adds("SYS_PTRACE") + FOLDER + ROOT,
    "agents that ask the kubelet": HOST + SOCKET + ROOT,
}
"""All that Pod Security has to say against an agent, by the switch that it is for."""


@pytest.mark.parametrize("name", NEEDS)
def test_an_agent_needs_what_the_chart_says_and_nothing_else(
    helm: Any, branches: Any, cluster: Cluster, name: str
) -> None:
    agent = pods_of(helm.render(branches[name]))["agent"]
    said = cluster.kubectl("create", "--dry-run=server", "-f", "-", objects=[agent]).stderr
    assert said.strip().partition('violates PodSecurity "restricted:latest": ')[2] == NEEDS[name]


def test_it_installs_upgrades_without_a_change_and_uninstalls(
    helm: Any, branches: Any, cluster: Cluster
) -> None:
    values = branches["pools"]
    objects = helm.render(values).objects
    done = helm.run("install", *cluster.access, values=values)
    assert done.returncode == 0, done.stderr
    assert "kubectl get gpunodes" in done.stdout
    installed = cluster.stored(objects)

    done = helm.run("upgrade", *cluster.access, values=values)
    assert done.returncode == 0, done.stderr
    assert changed(installed, cluster.stored(objects)) == []

    done = helm.run("uninstall", *cluster.access, "--wait=false")
    assert done.returncode == 0, done.stderr
    kept = [obj for obj in objects if obj["kind"] == "CustomResourceDefinition"]
    assert len(cluster.stored(kept)) == 4
    rest = [obj for obj in objects if obj not in kept]
    left = cluster.kubectl("get", "--ignore-not-found", "-o", "name", "-f", "-", objects=rest)
    assert left.stdout == ""


def changed(before: dict[str, Object], after: dict[str, Object]) -> list[str]:
    """Objects whose wanted state differs; of those that controllers write to, by generation."""
    return [
        name
        for name, obj in after.items()
        if (key := "generation" if obj["kind"] in OFTEN_CHANGED else "resourceVersion")
        and obj["metadata"].get(key) != before[name]["metadata"].get(key)
    ]


@pytest.fixture(scope="module")
def applied(helm: Any, branches: Any, cluster: Cluster) -> list[Object]:
    """The chart as GitOps applies it: rendered, then server-side under one manager."""
    objects: list[Object] = helm.render(branches["pools"]).objects
    done = cluster.apply(objects, "--field-manager=gitops", "--force-conflicts")
    assert done.returncode == 0, done.stderr
    return objects


def test_a_second_apply_changes_nothing(cluster: Cluster, applied: list[Object]) -> None:
    """Without force: the manager owns what is in git, nobody else wants it, and it has written once."""
    first = cluster.stored(applied)
    done = cluster.apply(applied, "--field-manager=gitops")
    assert done.returncode == 0, done.stderr
    assert changed(first, cluster.stored(applied)) == []
    for name, obj in first.items():
        entries = [e for e in obj["metadata"]["managedFields"] if e["manager"] == "gitops"]
        assert [e["operation"] for e in entries] == ["Apply"], name


@pytest.mark.usefixtures("applied")
def test_the_gitops_example_is_applied_twice_without_a_change(
    cluster: Cluster, examples: list[Object]
) -> None:
    wait = cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    assert wait.returncode == 0, wait.stderr
    words = ("--field-manager=argocd-controller", "--force-conflicts")
    assert cluster.apply(examples, *words).returncode == 0
    began = {"status": {"observedGeneration": 1}}
    for obj in examples:
        if obj["kind"] != "Namespace":  # an operator has seen it
            patch = ("--subresource=status", "--type=merge", "--patch", json.dumps(began))
            assert cluster.kubectl("patch", *patch, "-f", "-", objects=[obj]).returncode == 0
    first = cluster.stored(examples)
    assert cluster.apply(examples, *words).returncode == 0
    assert changed(first, cluster.stored(examples)) == []
    for obj in examples:
        stored = first[f"{obj['kind']} {obj['metadata']['name']}"]
        assert stored.get("spec") == obj.get("spec") or obj["kind"] == "Namespace"


@pytest.mark.parametrize(
    ("account", "read", "schema"),
    [
        ("ingle-operator", ["pods", "-A"], "ingle"),
        ("ingle-operator", ["lease/ingle-operator", "-n", "ingle-system"], "ingle-leases"),
        ("ingle-router", ["inferencepools.ingle.dev", "-A"], "ingle"),
        ("ingle-agent", ["gpunodes.ingle.dev"], "service-accounts"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("applied")
def test_requests_of_our_accounts_flow_as_the_schemas_say(
    cluster: Cluster, account: str, read: list[str], schema: str
) -> None:
    """The API server names in its answer the schema by which it took a request."""
    uid = cluster.kubectl("get", "flowschema", schema, "-o", "jsonpath={.metadata.uid}").stdout

    def taken() -> bool:
        user = f"system:serviceaccount:ingle-system:{account}"
        said = cluster.kubectl("get", *read, "--as", user, "-v=8").stderr
        return uid in re.findall(r"(?i)X-Kubernetes-Pf-Flowschema-Uid: (\S+)", said)

    assert until(taken), f"{account} does not flow as {schema} says"


def until(holds: Callable[[], bool]) -> bool:
    """Whether a state comes within 30 s: the server takes schemas over in the background."""
    deadline_s = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True
