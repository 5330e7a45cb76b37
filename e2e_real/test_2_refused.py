"""What must fail on a real node does fail: Pod Security, rights, the file system, the gateway."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from .cluster import SYSTEM, Cluster, Installed, first_pool

SYS_ADMIN = 1 << 21
PARTS = (
    ("deployment/ingle-operator", "operator"),
    ("statefulset/ingle-scheduler", "extender"),
    ("deployment/ingle-gateway", "router"),
    ("daemonset/ingle-agent", "agent"),
)
SETTER = ("daemonset/ingle-agent", "setter")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
ASK = """
import ssl, sys, urllib.request, urllib.error
folder, path, method = sys.argv[1:]
token = open(folder + "/token").read()
request = urllib.request.Request("https://10.96.0.1" + path, method=method, headers={"Authorization": "Bearer " + token})
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "/ca.crt")).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def inside(cluster: Cluster, part: tuple[str, str], *words: str) -> str:
    workload, container = part
    return cluster.kubectl("-n", SYSTEM, "exec", workload, "-c", container, "--", *words)


@pytest.mark.parametrize("part", PARTS, ids=[container for _, container in PARTS])
def test_no_process_can_write_to_its_image(
    cluster: Cluster, installed: Installed, part: tuple[str, str]
) -> None:
    said = inside(cluster, part, "sh", "-c", "(echo x > /usr/local/new) 2>&1 || true")
    assert "Read-only file system" in said or "Permission denied" in said
    mounts = inside(cluster, part, "python3", "-c", "print(open('/proc/mounts').readline())")
    assert "ro," in mounts.split()[3] + ","


@pytest.mark.parametrize("part", [*PARTS, SETTER], ids=[container for _, container in [*PARTS, SETTER]])
def test_processes_have_no_capability_but_the_one_that_the_chart_says(
    cluster: Cluster, installed: Installed, part: tuple[str, str]
) -> None:
    text = inside(cluster, part, "python3", "-c", "print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    sets = part == SETTER
    assert int(status["CapBnd"], 16) == (SYS_ADMIN if sets else 0)
    root = sets or part[1] == "agent"  # the kubelet's pod-resources socket, which the agent reads, is root's
    assert status["Uid"].split()[0] == ("0" if root else "65532")
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


@pytest.mark.parametrize("part", PARTS, ids=[container for _, container in PARTS])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/kube-system/secrets"),
        ("DELETE", "/api/v1/nodes/real-1"),
        ("DELETE", "/apis/ingle.dev/v1alpha1/namespaces/chat/inferencepools/first"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ],
)
def test_no_account_may_do_what_is_not_its_work(
    cluster: Cluster, installed: Installed, part: tuple[str, str], method: str, path: str
) -> None:
    """Asked from its container, with the token that lies there."""
    assert inside(cluster, part, "python3", "-c", ASK, TOKEN, path, method).strip() == "403"


def test_who_sets_limits_has_no_token(cluster: Cluster, installed: Installed) -> None:
    seen = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).exists())"
    assert inside(cluster, SETTER, "python3", "-c", seen, TOKEN).strip() == "False"


def test_pod_security_restricted_would_refuse_agents_alone(cluster: Cluster, installed: Installed) -> None:
    words = ("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    said = cluster.try_kubectl(*words, "--dry-run=server").stderr
    refused = [line.strip().removeprefix("Warning: ") for line in said.splitlines()[1:]]
    assert len(refused) == 1, said
    assert refused[0].startswith("ingle-agent-")


def test_a_pool_where_pod_security_refuses_its_engines_says_so_and_starts_once_it_names_a_user(
    cluster: Cluster, installed: Installed
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}}
    cluster.apply(space)
    pool = first_pool()
    pool["metadata"] = {"name": "strict", "namespace": "strict"}
    pool["spec"] |= {"aliases": [], "model": "strict/quick"}
    cluster.apply(pool)

    def refused() -> str:
        conditions = cluster.get("ipool", "strict", "-n", "strict").get("status", {}).get("conditions", ())
        return next((c["message"] for c in conditions if c["reason"] == "PodSecurity"), "")

    def awake() -> bool:
        status = cluster.get("ipool", "strict", "-n", "strict").get("status", {})
        return bool(status.get("replicas", {}).get("awake"))

    try:
        said = cluster.until("the pool to say why", refused, 30)
        assert "spec.template.securityContext.runAsUser" in said
        pool["spec"]["template"] = {"securityContext": {"runAsUser": 65532}}
        cluster.apply(pool)
        cluster.until("an engine as that user", awake, 60)
    finally:
        cluster.kubectl("delete", "ipool", "strict", "-n", "strict", "--wait=true")
        cluster.kubectl("delete", "namespace", "strict", "--wait=true")


@pytest.mark.parametrize("path", ["/sleep?level=1", "/wake_up", "/collective_rpc", "/metrics"])
def test_the_gateway_lets_nothing_but_the_api_of_models_through(
    cluster: Cluster, installed: Installed, path: str
) -> None:
    assert post(installed.gateway + path, cluster.token()) == 404


def test_a_caller_without_a_good_token_gets_401(installed: Installed) -> None:
    assert post(f"{installed.gateway}/v1/completions", "not-a-token") == 401


def post(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, b'{"model": "first", "prompt": "x"}', headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
