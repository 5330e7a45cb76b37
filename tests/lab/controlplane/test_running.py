"""The running control plane: who may do what, tokens, the audit log."""

from __future__ import annotations

import datetime
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.controlplane import ControlPlane, ControlPlaneError
from ingle_lab.controlplane.flags import AUDIENCE
from ingle_lab.controlplane.pki import Pair
from ingle_lab.controlplane.rest import Rest

OURS = "ingle.dev"
NODE_NAME = "authentication.kubernetes.io/node-name"


def node(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def review(plane: ControlPlane, kubectl: Callable[..., Any], token: str, audience: str) -> dict[str, Any]:
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    answer = kubectl(plane, "create", "-f", "-", "-o", "json", stdin=body)
    assert answer.returncode == 0, answer.stderr
    status: dict[str, Any] = json.loads(answer.stdout)["status"]
    return status


@pytest.fixture(scope="module")
def node_a(plane: ControlPlane, kubectl: Callable[..., Any]) -> Path:
    """Kubeconfig of node-a, which has registered itself; node-b exists too."""
    for name in ("node-a", "node-b"):
        created = kubectl(
            plane, "create", "-f", "-", kubeconfig=plane.node_kubeconfig(name), stdin=node(name)
        )
        assert created.returncode == 0, created.stderr
    return plane.lab / "nodes" / "node-a" / "kubeconfig"


def test_administrator_creates_a_namespace(plane: ControlPlane, kubectl: Callable[..., Any]) -> None:
    assert kubectl(plane, "create", "namespace", "made-by-admin").returncode == 0


def test_binaries_say_the_version_that_go_mod_pins(plane: ControlPlane, kubectl: Callable[..., Any]) -> None:
    versions = json.loads(kubectl(plane, "version", "-o", "json").stdout)
    assert versions["serverVersion"]["gitVersion"] == versions["clientVersion"]["gitVersion"] == "v1.37.2"


def test_a_node_changes_itself_but_no_other_node(
    plane: ControlPlane, kubectl: Callable[..., Any], node_a: Path
) -> None:
    change = "example.com/tried=yes"
    own = kubectl(plane, "annotate", "node", "node-a", change, kubeconfig=node_a)
    assert own.returncode == 0, own.stderr
    pki = plane.lab / "pki"
    as_node_a = Pair(pki / "node-node-a.crt", pki / "node-node-a.key")
    api = Rest("127.0.0.1", plane.ports.apiserver, str(pki / "ca.crt"), as_node_a)
    status, content = api.request("PUT", "/api/v1/nodes/node-b/status", node("node-b"))
    assert status == 403
    assert json.loads(content)["message"].endswith('node "node-a" is not allowed to modify node "node-b"')


def test_a_node_reads_no_secret_of_pods_elsewhere(
    plane: ControlPlane, kubectl: Callable[..., Any], node_a: Path
) -> None:
    kubectl(plane, "create", "secret", "generic", "not-for-nodes")
    answer = kubectl(plane, "get", "secret", "not-for-nodes", kubeconfig=node_a)
    assert "no relationship found between node 'node-a' and this object" in answer.stderr


@pytest.mark.usefixtures("node_a")
def test_a_token_bound_to_a_node_carries_its_name(
    plane: ControlPlane, kubectl: Callable[..., Any], tmp_path: Path
) -> None:
    token = plane.service_account_token("default", "default", bound_kind="Node", bound_name="node-a")
    config = plane.token_kubeconfig(tmp_path / "kubeconfig", token)
    answer = kubectl(plane, "auth", "whoami", "-o", "json", kubeconfig=config)
    user = json.loads(answer.stdout)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["extra"][NODE_NAME] == ["node-a"]
    assert review(plane, kubectl, token, AUDIENCE)["user"]["extra"][NODE_NAME] == ["node-a"]


def test_a_token_for_our_audience_passes_our_review_and_nothing_else(
    plane: ControlPlane, kubectl: Callable[..., Any]
) -> None:
    token = plane.service_account_token("default", "default", audiences=[OURS])
    ours = review(plane, kubectl, token, OURS)
    assert ours["authenticated"]
    assert ours["audiences"] == [OURS]
    assert not review(plane, kubectl, token, AUDIENCE).get("authenticated")
    api = Rest("127.0.0.1", plane.ports.apiserver, str(plane.lab / "pki" / "ca.crt"))
    assert api.request("GET", "/api/v1/namespaces", token=token)[0] == 401


def test_a_token_of_the_api_server_does_not_pass_our_review(
    plane: ControlPlane, kubectl: Callable[..., Any]
) -> None:
    token = plane.service_account_token("default", "default")
    assert not review(plane, kubectl, token, OURS).get("authenticated")


def test_a_token_for_a_missing_account_is_refused_by_name(plane: ControlPlane) -> None:
    with pytest.raises(ControlPlaneError, match='serviceaccounts "nobody" not found'):
        plane.service_account_token("default", "nobody")


def test_a_service_account_has_no_rights_of_its_own(
    plane: ControlPlane, kubectl: Callable[..., Any], tmp_path: Path
) -> None:
    config = plane.token_kubeconfig(tmp_path / "k", plane.service_account_token("default", "default"))
    assert "forbidden" in kubectl(plane, "get", "pods", kubeconfig=config).stderr.lower()


def test_the_audit_log_has_writes_without_bodies_and_no_reads(
    plane: ControlPlane, kubectl: Callable[..., Any]
) -> None:
    kubectl(plane, "create", "configmap", "audited", "--from-literal=a=very-private")
    kubectl(plane, "get", "configmap", "audited")
    text = plane.audit_log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line.get("objectRef", {}).get("name") == "audited"]
    assert [(line["verb"], line["user"]["username"], line["level"]) for line in mine] == [
        ("create", "admin", "Metadata")
    ]
    assert {line["stage"] for line in lines} <= {"ResponseComplete", "ResponseStarted"}
    assert not {line["verb"] for line in lines} & {"get", "list", "watch"}
    assert "very-private" not in text


def test_pods_tolerate_a_lost_node_as_long_as_the_setting_says(
    plane: ControlPlane, kubectl: Callable[..., Any]
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    }
    answer = kubectl(plane, "create", "-f", "-", "--dry-run=server", "-o", "json", stdin=pod)
    seconds = [item.get("tolerationSeconds") for item in json.loads(answer.stdout)["spec"]["tolerations"]]
    assert seconds == [2, 2]


def test_a_silent_node_counts_as_lost_as_fast_as_the_setting_says(
    plane: ControlPlane, kubectl: Callable[..., Any]
) -> None:
    beat = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": beat, "lastTransitionTime": beat}
    patch = json.dumps({"status": {"conditions": [ready]}})
    kubectl(plane, "create", "-f", "-", stdin=node("silent"))
    kubectl(plane, "patch", "node", "silent", "--subresource=status", "-p", patch)
    waited = kubectl(plane, "wait", "node/silent", "--for=condition=Ready=Unknown", "--timeout=25s")
    assert waited.returncode == 0, waited.stderr


def test_keys_and_kubeconfigs_are_for_their_owner_only(plane: ControlPlane) -> None:
    secret = [*(plane.lab / "pki").glob("*.key"), plane.kubeconfig, plane.node_kubeconfig("node-c")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_a_node_name_that_leaves_the_folder_is_refused(plane: ControlPlane) -> None:
    with pytest.raises(ControlPlaneError, match="no name for a node"):
        plane.node_kubeconfig("../../etc")
