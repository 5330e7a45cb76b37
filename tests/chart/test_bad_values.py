"""Values that cannot be meant are refused before anything is applied, by a message that names the key."""

from __future__ import annotations

from typing import Any

import pytest

LONG = "a" * 64


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value of a key such as operator/replicas."""
    *parents, last = path.split("/")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def parent_of(path: str) -> str:
    return "".join(f"/{key}" for key in path.split("/")[:-1])


def last_of(path: str) -> str:
    return path.rpartition("/")[2]


BY_SCHEMA: list[tuple[str, Any]] = [
    ("operator", "two"),
    ("operator/replicas", "2"),
    ("operator/replicas", 0),
    ("operator/replicas", 6),
    ("operator/replicas", 1.5),
    ("operator/resources/limits/memory", "lots"),
    ("operator/resources/limits/memory", 512),
    ("operator/resources/requests/cpu", "-1"),
    ("operator/resources/requests/cpu", 1),
    ("operator/tolerations", {}),
    ("operator/tolerations", ["NoSchedule"]),
    ("operator/nodeSelector", {"disk": True}),
    ("operator/nodeSelector", {"disk": LONG}),
    ("operator/priorityClassName", "High Priority"),
    ("operator/settings/lease_renew_s", -1),
    ("operator/settings/lease_duration_s", 2),
    ("operator/settings/workers", 0),
    ("operator/settings/workers", "many"),
    ("operator/settings/wake_limit_s", None),
    ("operator/settings/log_level", 3),
    ("scheduler/replicas", 4),
    ("scheduler/kubeSchedulerResources", []),
    ("scheduler/settings/claim_attempts", 51),
    ("scheduler/settings/filter_deadline_s", 0),
    ("scheduler/settings/scheduler_backoff_max_s", 1.5),
    ("gateway/replicas", True),
    ("gateway/drainSeconds", 4),
    ("gateway/drainSeconds", "1m"),
    ("gateway/envoyConcurrency", 0),
    ("gateway/service/type", "Ingress"),
    ("gateway/service/port", 65536),
    ("gateway/service/annotations", {"a": 1}),
    ("gateway/settings/token_known_s", 11),
    ("gateway/settings/stream_idle_s", 0),
    ("agent/setLimits", "true"),
    ("agent/split", "yes"),
    ("agent/setterResources/requests/cpu", 5),
    ("agent/hostDirectory", "var/lib/ingle"),
    ("agent/hostDirectory", "/"),
    ("agent/hostDirectory", "/var/lib/$(whoami)"),
    ("agent/maxUnavailable", "0%"),
    ("agent/maxUnavailable", 1),
    ("agent/settings/sample_seconds", 11),
    ("agent/settings/foreign_mib", 0.5),
    ("images/registry", "https://mirror.example"),
    ("images/pullPolicy", "Sometimes"),
    ("images/pullSecrets", [{"name": "secret"}]),
    ("images/ingle/digest", "sha256:abc"),
    ("images/ingle/repository", "Ingle"),
    ("images/ingle/tag", 1.5),
    ("images/envoy/tag", "v1 40"),
    ("gpus/attach", "Magic"),
    ("gpus/runtimeClassName", "NVIDIA"),
    ("pools/namespaces", "chat"),
    ("pools/namespaces", ["chat", "chat"]),
    ("networkPolicy/enabled", "yes"),
    ("networkPolicy/apiServers", "10.0.0.1/32"),
    ("crds/install", 1),
    ("monitoring/namespace", "Monitoring"),
    ("monitoring/serviceMonitor/interval", "15"),
    ("monitoring/dashboard/label", "a b"),
    ("monitoring/prometheusRule/labels", {"release": 1}),
]
"""Path of the key, and what is wrong with it."""

OF_ITEMS: list[tuple[str, Any, str]] = [
    ("agent/tolerations", [{"operator": "Perhaps"}], "agent/tolerations/0/operator"),
    ("agent/tolerations", [{"effect": "NoWay"}], "agent/tolerations/0/effect"),
    ("networkPolicy/clients", ["10.0.0.1"], "networkPolicy/clients/0"),
    ("pools/namespaces", ["Chat Room"], "pools/namespaces/0"),
]

UNKNOWN: list[str] = [
    "nonsense",
    "image",
    "operator/replicaCount",
    "operator/settings/lease_duration",
    "operator/settings/namespace",
    "operator/resources/limits/nvidia.com",
    "scheduler/settings/extender_port",
    "gateway/service/loadBalancerIP",
    "gateway/settings/conformance",
    "agent/privileged",
    "agent/settings/journal",
    "images/ingle/registry",
    "networkPolicy/egress",
    "monitoring/serviceMonitor/namespace",
]

TAKEN_AWAY: list[str] = [
    "networkPolicy/enabled",
    "networkPolicy",
    "operator/replicas",
    "gateway/service/port",
    "agent/setLimits",
    "images/ingle/repository",
    "podDisruptionBudgets/enabled",
]
"""A switch that is not there would count as off."""

BY_TEMPLATE: list[tuple[dict[str, Any], str]] = [
    (
        {"operator": {"settings": {"lease_renew_s": 6}}},
        "operator.settings.lease_duration_s (15) must be at least three times operator.settings.lease_renew_s (6)",
    ),
    (
        {"operator": {"settings": {"orphan_s": 0}}},
        "scheduler.settings.claim_renew_s (20) must be at most a third of operator.settings.orphan_s (0)",
    ),
    (
        {"scheduler": {"settings": {"claim_renew_s": 21.5}}},
        "scheduler.settings.claim_renew_s (21.5) must be at most a third of operator.settings.orphan_s (60)",
    ),
    (
        {"pools": {"namespaces": ["ingle-system"]}},
        "pools.namespaces: ingle-system is for Ingle's own processes",
    ),
    ({"agent": {"settings": {"zone_seconds": 5}}}, "agent.settings.zone_seconds: agents look at zones with"),
    (
        {"agent": {"settings": {"pod_resources_seconds": 5}}},
        "agent.settings.pod_resources_seconds: agents ask",
    ),
    (
        {"monitoring": {"serviceMonitor": {"enabled": True}}},
        "monitoring.namespace: name the namespace of Prometheus",
    ),
    (
        {"gateway": {"tolerations": [{"value": "x"}]}},
        "tolerations: a toleration without key needs operator Exists",
    ),
    (
        {"agent": {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "x"}]}},
        "tolerations: operator Exists of key gpu takes no value",
    ),
    (
        {"gateway": {"envoyResources": {"requests": {"memory": "4Gi"}}}},
        "gateway.envoyResources.requests.memory (4Gi) is more than gateway.envoyResources.limits.memory (2Gi)",
    ),
    (
        {"agent": {"resources": {"requests": {"cpu": "1.5"}, "limits": {"cpu": "900m"}}}},
        "agent.resources.requests.cpu (1.5) is more than agent.resources.limits.cpu (900m)",
    ),
]


Case = tuple[str, Any, str]

CASES: list[Case] = [
    *((path, value, f"at '/{path}") for path, value in BY_SCHEMA),
    *((path, value, f"at '/{named}'") for path, value, named in OF_ITEMS),
    *(
        (path, "x", f"at '{parent_of(path)}': additional properties '{last_of(path)}' not allowed")
        for path in UNKNOWN
    ),
    *((path, None, f"at '{parent_of(path)}': missing property '{last_of(path)}'") for path in TAKEN_AWAY),
]


def apart(one: str, other: str) -> bool:
    """Whether two keys are in different places, so that each may be wrong in the same values."""
    return not f"{one}/".startswith(f"{other}/") and not f"{other}/".startswith(f"{one}/")


def groups() -> list[list[Case]]:
    """The cases in few groups whose keys are apart and whose last parents differ: Helm lists several unknown keys of
    one place in one message."""
    found: list[list[Case]] = []
    for case in CASES:
        fitting = (
            group
            for group in found
            if all(apart(case[0], path) and parent_of(case[0]) != parent_of(path) for path, _, _ in group)
        )
        group = next(fitting, None)
        if group is None:
            found.append([case])
        else:
            group.append(case)
    return found


@pytest.fixture(scope="module")
def said(helm: Any) -> dict[str, str]:
    """What Helm says of each case. It names every wrong key at once, so cases share a run."""
    answers: dict[str, str] = {}
    for group in groups():
        values: dict[str, Any] = {}
        for path, value, _ in group:
            put(values, path, value)
        text = helm.refusal(values)
        answers |= {f"{path}={value!r}": text for path, value, _ in group}
    return answers


@pytest.mark.parametrize(("path", "value", "message"), CASES, ids=str)
def test_a_wrong_value_is_refused_by_its_key(said: Any, path: str, value: Any, message: str) -> None:
    assert message in said[f"{path}={value!r}"]


def test_there_are_fifty_of_them_and_none_is_right(said: Any) -> None:
    assert len(said) == len(CASES) >= 50


@pytest.mark.parametrize(("values", "says"), BY_TEMPLATE, ids=str)
def test_values_that_do_not_go_together_are_refused(helm: Any, values: Any, says: str) -> None:
    assert says in helm.refusal(values)


def test_another_namespace_is_refused(helm: Any) -> None:
    done = helm.template(namespace="default")
    assert done.returncode != 0
    assert "namespace default: Ingle's accounts, policies and command look for ingle-system" in done.stderr


def test_an_old_cluster_is_refused(helm: Any) -> None:
    done = helm.template(kube_version="v1.34.9")
    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.35.0-0" in done.stderr
