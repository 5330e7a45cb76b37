"""What each of our accounts may do, and that it may do nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_kit.kube import Forbidden, NotFound
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LEASE, POD, TOKEN_REVIEW

MANIFESTS = Path(__file__).parents[2] / "charts" / "manifests"
OURS = ("inferencepools", "routingpolicies", "powerbudgets", "gpunodes")
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")
RESOURCES = (
    *(f"ingle.dev/{plural}" for plural in OURS),
    *(f"ingle.dev/{plural}/status" for plural in OURS),
    *(
        f"/{plural}"
        for plural in ("pods", "nodes", "namespaces", "events", "secrets", "configmaps", "serviceaccounts")
    ),
    *(f"/pods/{sub}" for sub in ("status", "binding", "exec", "eviction", "ephemeralcontainers", "resize")),
    "/nodes/status",
    "/serviceaccounts/token",
    "coordination.k8s.io/leases",
    "apps/deployments",
    "apps/daemonsets",
    "autoscaling/horizontalpodautoscalers",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "apiextensions.k8s.io/customresourcedefinitions",
    "admissionregistration.k8s.io/validatingadmissionpolicies",
    "authentication.k8s.io/tokenreviews",
    "authorization.k8s.io/subjectaccessreviews",
)


def rights(*pairs: tuple[tuple[str, ...], tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(verb, resource) for verbs, resources in pairs for verb in verbs for resource in resources}


USERS_OBJECTS = ("ingle.dev/inferencepools", "ingle.dev/routingpolicies")
FOLLOW = ("list", "watch")
EXPECTED = {
    "operator": rights(
        (
            FOLLOW,
            (*USERS_OBJECTS, "ingle.dev/powerbudgets", "/nodes", "autoscaling/horizontalpodautoscalers"),
        ),
        (("patch",), tuple(f"ingle.dev/{plural}/status" for plural in OURS if plural != "gpunodes")),
        ((*READ, "create", "patch"), ("ingle.dev/gpunodes",)),
        ((*FOLLOW, "create", "delete"), ("/pods",)),
        (("patch",), ("/pods/status", "/pods/resize")),
        (("create",), ("/events",)),
    ),
    "router": rights(
        (FOLLOW, (*USERS_OBJECTS, "/pods")), (("create",), ("authentication.k8s.io/tokenreviews",))
    ),
    "agent": rights((FOLLOW, ("ingle.dev/gpunodes",)), (("patch",), ("ingle.dev/gpunodes/status",))),
}


@pytest.mark.parametrize("account", EXPECTED)
def test_an_account_has_exactly_the_rights_it_needs(cluster: Any, account: str) -> None:
    found = {(v, r) for r in RESOURCES for v in (*READ, *WRITE) if cluster.allowed(account, v, r, "default")}
    assert found == EXPECTED[account]


def test_the_scheduler_has_kube_schedulers_rights_and_writes_of_ours_only_the_ledger(cluster: Any) -> None:
    found = {
        (v, r)
        for r in RESOURCES
        if r.startswith("ingle.dev/")
        for v in (*READ, *WRITE)
        if cluster.allowed("scheduler", v, r, "default")
    }
    assert found == rights(
        ((*READ, "patch"), ("ingle.dev/gpunodes",)), (FOLLOW, ("ingle.dev/inferencepools",))
    )
    assert cluster.allowed("scheduler", "create", "/pods/binding", "default")
    for verb, resource in [("create", "/pods"), ("patch", "/pods"), ("get", "/secrets"), ("patch", "/nodes")]:
        assert not cluster.allowed("scheduler", verb, resource, "default")


def test_no_account_may_do_everything_with_anything_or_read_secrets() -> None:
    for document in yaml.safe_load_all((MANIFESTS / "rbac.yaml").read_text()):
        for rule in document.get("rules", ()):
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not any("*" in word for word in words), document["metadata"]["name"]
            assert not {"secrets", "escalate", "bind", "impersonate"} & set(words)


@pytest.mark.parametrize("account", ["operator", "scheduler"])
def test_only_its_own_lease_is_held(cluster: Any, account: str) -> None:
    kube = cluster.account(account)
    name = f"ingle-{account}"
    body = {
        "apiVersion": LEASE.api_version,
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "ingle-system"},
    }
    cluster.run(kube.create(LEASE, body))
    lease = cluster.run(kube.get(LEASE, name, "ingle-system"))
    cluster.run(kube.replace(LEASE, lease | {"spec": {"holderIdentity": "me"}}))
    with pytest.raises(Forbidden):
        cluster.run(kube.get(LEASE, "another", "ingle-system"))


def test_the_operator_writes_status_of_what_people_write_and_never_their_spec(cluster: Any) -> None:
    operator = cluster.account("operator")
    with pytest.raises(NotFound):
        cluster.run(operator.merge_patch(INFERENCE_POOL, "none", {"status": {}}, "default", "status"))
    assert "cannot patch" in cluster.refusal(
        operator.merge_patch(INFERENCE_POOL, "none", {"spec": {}}, "default")
    )


def test_the_router_may_ask_who_a_caller_is(cluster: Any) -> None:
    token = cluster.plane.service_account_token("default", "default", audiences=["ingle.dev"])
    body = {"apiVersion": TOKEN_REVIEW.api_version, "kind": "TokenReview"}
    review = body | {"spec": {"token": token, "audiences": ["ingle.dev"]}}
    answer = cluster.run(cluster.account("router").create(TOKEN_REVIEW, review))
    assert answer["status"]["user"]["username"] == "system:serviceaccount:default:default"


def test_people_edit_pools_and_policies_of_their_namespace_but_not_budgets(cluster: Any) -> None:
    subject = {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ann"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [subject],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/plain/rolebindings"
    cluster.run(cluster.admin.request("POST", path, body=binding))
    cluster.until(lambda: cluster.user_allowed("ann", "create", "ingle.dev/inferencepools", "plain"))
    assert cluster.user_allowed("ann", "list", "ingle.dev/routingpolicies", "plain")
    assert not cluster.user_allowed("ann", "create", "ingle.dev/powerbudgets", "")
    assert not cluster.user_allowed("ann", "get", "ingle.dev/gpunodes", "")


def test_the_agent_reads_ledgers_and_nothing_else(cluster: Any) -> None:
    agent = cluster.account("agent", "Node", "gpu-1")
    items, _ = cluster.run(agent.list(GPU_NODE, field_selector="metadata.name=gpu-1"))
    assert [item["metadata"]["name"] for item in items] == ["gpu-1"]
    assert "cannot list" in cluster.refusal(agent.list(POD, "default"))
