"""What RBAC cannot say: whose status, whose annotations, whose ledger, which namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_kit.names import GPU_NODE, INFERENCE_POOL, POD

STATUS = {"status": {"bootID": "b", "heartbeatAt": "2026-01-01T00:00:00Z"}}
GATE = {"status": {"conditions": [{"type": "ingle.dev/awake", "status": "True"}]}}


def bind(name: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": metadata,
        "target": {"kind": "Node", "name": "gpu-1"},
    }


def binding_of(kube: Any, name: str, **annotations: str) -> Any:
    return kube.request("POST", POD.path("default", name, "binding"), body=bind(name, **annotations))


# -- agents --------------------------------------------------------------------------------------------------


def test_an_agent_writes_the_status_of_its_own_node(cluster: Any) -> None:
    agent = cluster.account("agent", "Node", "gpu-1")
    assert (
        cluster.run(agent.merge_patch(GPU_NODE, "gpu-1", STATUS, subresource="status"))["status"]["bootID"]
        == "b"
    )


def test_an_agents_token_bound_to_its_pod_works_as_well(cluster: Any, bodies: Any) -> None:
    body = bodies.pod("agent-x", namespace="ingle-system")
    body["spec"] = bodies.spec(nodeName="gpu-2", serviceAccountName="ingle-agent")
    cluster.run(cluster.admin.create(POD, body))
    agent = cluster.account("agent", "Pod", "agent-x")
    cluster.run(agent.merge_patch(GPU_NODE, "gpu-2", STATUS, subresource="status"))
    assert "its token is for gpu-2" in cluster.refusal(
        agent.merge_patch(GPU_NODE, "gpu-1", STATUS, subresource="status")
    )


def test_an_agent_does_not_write_another_nodes_status(cluster: Any) -> None:
    agent = cluster.account("agent", "Node", "gpu-1")
    said = cluster.refusal(agent.merge_patch(GPU_NODE, "gpu-2", STATUS, subresource="status"))
    assert "an agent writes only the status of its own GPUNode: this is gpu-2, its token is for gpu-1" in said


def test_an_agents_token_without_a_node_writes_nothing(cluster: Any) -> None:
    agent = cluster.account("agent")
    said = cluster.refusal(agent.merge_patch(GPU_NODE, "gpu-1", STATUS, subresource="status"))
    assert "its token is for no node (bind it to the pod or the node)" in said


def test_an_agent_does_not_reach_the_ledger_through_its_status(cluster: Any) -> None:
    agent = cluster.account("agent", "Node", "gpu-1")
    sneaky = {**STATUS, "spec": {"revision": 99}, "metadata": {"labels": {"a": "b"}}}
    after = cluster.run(agent.merge_patch(GPU_NODE, "gpu-1", sneaky, subresource="status"))
    assert after["spec"]["revision"] != 99
    assert "labels" not in after["metadata"]
    assert "cannot patch" in cluster.refusal(agent.merge_patch(GPU_NODE, "gpu-1", {"spec": {"revision": 99}}))


# -- engine pods ---------------------------------------------------------------------------------------------

GPU_MEMORY = {"resources": {"limits": {"ingle.dev/gpu-memory-mib": "42000"}}}
MARKS = [
    (
        {"annotations": {"ingle.dev/gpus": "GPU-1"}},
        {},
        "the annotations ingle.dev/gpus, ingle.dev/placement and",
    ),
    (
        {"annotations": {"ingle.dev/placement": "{}"}},
        {},
        "the annotations ingle.dev/gpus, ingle.dev/placement and",
    ),
    (
        {"annotations": {"ingle.dev/requeue": "1"}},
        {},
        "the annotations ingle.dev/gpus, ingle.dev/placement and",
    ),
    *(
        (
            {"annotations": {f"ingle.dev/{name}": "x"}},
            {},
            "ingle.dev/requeue, hardware and fetches are written",
        )
        for name in ("level", "hardware", "fetches")
    ),
    ({"labels": {"ingle.dev/pool": "llama"}}, {}, "the labels ingle.dev/pool, ingle.dev/variant and"),
    ({"labels": {"ingle.dev/revision": "1"}}, {}, "the labels ingle.dev/pool, ingle.dev/variant and"),
    ({}, {"schedulerName": "ingle"}, "schedulerName ingle is for engine pods that Ingle makes: remove it"),
    (
        {},
        {"container": GPU_MEMORY},
        "the resource ingle.dev/gpu-memory-mib is for engine pods that Ingle makes",
    ),
    (
        {},
        {"initContainers": [{"name": "i", "image": "i", **GPU_MEMORY}]},
        "the resource ingle.dev/gpu-memory-mib is for engine pods that Ingle makes",
    ),
]


@pytest.mark.parametrize(("metadata", "spec", "says"), MARKS)
def test_nobody_else_makes_an_engine_pod_and_the_operator_does(
    cluster: Any, bodies: Any, metadata: Any, spec: Any, says: str
) -> None:
    body = bodies.pod("marked", **metadata) | {"spec": bodies.spec(**spec)}
    said = cluster.refusal(cluster.admin.create(POD, body, dry_run=True))
    assert says in said
    assert "InferencePool" in said
    cluster.run(cluster.account("operator").create(POD, body, dry_run=True))


def test_other_pods_are_nobodys_business(cluster: Any, bodies: Any, made: Any) -> None:
    body = bodies.pod("other", annotations={"example.com/a": "b"}, labels={"ingle.dev/component": "agent"})
    made(body)
    patch = {"metadata": {"annotations": {"example.com/a": "c"}, "labels": {"x": "y"}}}
    cluster.run(cluster.admin.merge_patch(POD, "other", patch, "default"))


@pytest.mark.parametrize(
    "patch",
    [
        {"annotations": {"ingle.dev/gpus": "GPU-2"}},
        {"annotations": {"ingle.dev/gpus": None}},
        {"annotations": {"ingle.dev/requeue": "2"}},
        {"annotations": {"ingle.dev/hardware": "H100_580"}},
        {"labels": {"ingle.dev/pool": "other"}},
        {"labels": None},
    ],
    ids=str,
)
def test_nobody_else_changes_or_removes_our_marks(cluster: Any, bodies: Any, made: Any, patch: Any) -> None:
    marks = {"annotations": {"ingle.dev/gpus": "GPU-1"}, "labels": {"ingle.dev/pool": "llama"}}
    operator = cluster.account("operator")
    made(bodies.pod("engine", **marks), operator)
    said = cluster.refusal(cluster.admin.merge_patch(POD, "engine", {"metadata": patch}, "default"))
    assert "written by Ingle only: leave them as they are" in said
    cluster.run(
        operator.merge_patch(
            POD, "engine", {"metadata": {"annotations": {"ingle.dev/requeue": "3"}}}, "default", "status"
        )
    )
    cluster.run(
        cluster.admin.merge_patch(POD, "engine", {"metadata": {"annotations": {"a": "b"}}}, "default")
    )


def test_a_kubelet_writes_the_status_of_an_engine_pod_but_not_our_marks(
    cluster: Any, bodies: Any, made: Any
) -> None:
    body = bodies.pod("running", annotations={"ingle.dev/gpus": "GPU-1"})
    made(body | {"spec": bodies.spec(nodeName="gpu-1")}, cluster.account("operator"))
    kubelet = cluster.kubelet("gpu-1")
    after = cluster.run(
        kubelet.merge_patch(POD, "running", {"status": {"phase": "Running"}}, "default", "status")
    )
    assert after["status"]["phase"] == "Running"
    sneaky = {"metadata": {"annotations": {"ingle.dev/gpus": "GPU-2"}}, "status": {"message": "x"}}
    said = cluster.refusal(kubelet.merge_patch(POD, "running", sneaky, "default", "status"))
    assert "written by Ingle only" in said


def test_the_operator_opens_the_readiness_gate(cluster: Any, bodies: Any, made: Any) -> None:
    operator = cluster.account("operator")
    made(
        bodies.pod("gated") | {"spec": bodies.spec(readinessGates=[{"conditionType": "ingle.dev/awake"}])},
        operator,
    )
    after = cluster.run(operator.strategic_patch(POD, "gated", GATE, "default", "status"))
    assert after["status"]["conditions"][-1]["status"] == "True" or any(
        c["type"] == "ingle.dev/awake" and c["status"] == "True" for c in after["status"]["conditions"]
    )


def test_only_our_scheduler_binds_with_gpus(cluster: Any, bodies: Any, made: Any) -> None:
    made(bodies.pod("placed") | {"spec": bodies.spec(schedulerName="ingle")}, cluster.account("operator"))
    gpus = {"ingle.dev/gpus": "GPU-1"}
    said = cluster.refusal(binding_of(cluster.admin, "placed", **gpus))
    assert "only Ingle's scheduler binds pods with ingle.dev annotations" in said
    cluster.run(binding_of(cluster.account("scheduler"), "placed", **gpus))
    placed = cluster.run(cluster.admin.get(POD, "placed", "default"))
    assert placed["spec"]["nodeName"] == "gpu-1"
    assert placed["metadata"]["annotations"] == gpus


def test_others_bind_without(cluster: Any, bodies: Any, made: Any) -> None:
    made(bodies.pod("elsewhere") | {"spec": bodies.spec(schedulerName="another")})
    cluster.run(binding_of(cluster.admin, "elsewhere"))


# -- ledger --------------------------------------------------------------------------------------------------


def test_operator_and_scheduler_write_the_ledger_and_not_even_an_administrator(
    cluster: Any, bodies: Any
) -> None:
    says = "the spec of a GPUNode is the ledger and is written by Ingle's operator and scheduler only"
    assert says in cluster.refusal(cluster.admin.create(GPU_NODE, bodies.ledger("gpu-3")))
    for account in ("operator", "scheduler"):
        kube = cluster.account(account)
        revision = cluster.run(kube.get(GPU_NODE, "gpu-2"))["spec"]["revision"]
        change = {"spec": {"revision": revision + 1}}
        assert says in cluster.refusal(cluster.admin.merge_patch(GPU_NODE, "gpu-2", change))
        cluster.run(kube.merge_patch(GPU_NODE, "gpu-2", change))


def test_an_administrator_may_label_a_gpu_node(cluster: Any) -> None:
    cluster.run(cluster.admin.merge_patch(GPU_NODE, "gpu-2", {"metadata": {"labels": {"a": "b"}}}))


# -- priority ------------------------------------------------------------------------------------------------


def pool(name: str, namespace: str, priority: str) -> dict[str, Any]:
    memory = {"awake": 2, "asleep": 1, "host": 0}
    variant = {"name": "v", "gpus": 1, "memoryMiB": memory, "watts": {"busy": 1, "idle": 1}}
    spec = {
        "model": "m",
        "engine": {"kind": "VLLM", "image": "i"},
        "variants": [variant],
        "priority": priority,
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "ingle.dev/v1alpha1", "kind": "InferencePool", "metadata": metadata, "spec": spec}


def test_priority_high_needs_the_namespaces_label(cluster: Any) -> None:
    said = cluster.refusal(cluster.admin.create(INFERENCE_POOL, pool("a", "plain", "High")))
    assert "priority High is not allowed in namespace plain: use Normal, or ask an administrator" in said
    cluster.run(cluster.admin.create(INFERENCE_POOL, pool("a", "plain", "Normal")))
    raised = {"spec": {"priority": "High"}}
    assert "not allowed" in cluster.refusal(cluster.admin.merge_patch(INFERENCE_POOL, "a", raised, "plain"))
    cluster.run(cluster.admin.create(INFERENCE_POOL, pool("a", "vip", "High")))
