"""Our own pods as the lab runs them: operator, scheduler with extender, gateway with router, an agent a node."""

from __future__ import annotations

from typing import Any

from ingle_kit.kube import Object
from ingle_kit.names import (
    LABEL_COMPONENT,
    PORT_AGENT,
    PORT_EXTENDER,
    PORT_OPERATOR,
    PORT_ROUTER,
    SYSTEM_NAMESPACE,
)

IMAGE = "ingle.dev/ingle:lab"
ENVOY_IMAGE = "envoyproxy/envoy:v1.40.0"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
SCHEDULER_IMAGE = "registry.k8s.io/kube-scheduler:v1.37.2"


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def environment(settings: dict[str, str]) -> list[Object]:
    """The common settings from the downward API, then the given ones."""
    own = [
        _field("INGLE_POD_NAME", "metadata.name"),
        _field("INGLE_POD_UID", "metadata.uid"),
        _field("INGLE_POD_IP", "status.podIP"),
        _field("INGLE_NODE_NAME", "spec.nodeName"),
        {"name": "INGLE_LISTEN", "value": "$(INGLE_POD_IP)"},
    ]
    return own + [{"name": name, "value": value} for name, value in settings.items()]


def _container(
    name: str, command: list[str], port: int, settings: dict[str, str], path: str = "/healthz"
) -> Object:
    return {
        "name": name,
        "image": IMAGE,
        "command": command,
        "env": environment(settings),
        "readinessProbe": {
            "httpGet": {"path": path, "port": port},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
    }


def _pod(name: str, component: str, account: str, node: str, containers: list[Object], **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {LABEL_COMPONENT: component}},
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "containers": containers,
        }
        | spec,
    }


def operator_pod(node: str, settings: dict[str, str]) -> Object:
    container = _container(
        "operator", ["ingle-operator"], PORT_OPERATOR, {"INGLE_SPARE_IMAGE": IMAGE} | settings
    )
    return _pod("ingle-operator-0", "operator", "ingle-operator", node, [container])


def scheduler_pod(node: str, settings: dict[str, str]) -> Object:
    """kube-scheduler and the extender share a pod; the lab's kube-scheduler reads the same settings."""
    extender = _container("extender", ["ingle-extender"], PORT_EXTENDER, settings)
    scheduler = {"name": "kube-scheduler", "image": SCHEDULER_IMAGE, "env": environment(settings)}
    return _pod("ingle-scheduler-0", "scheduler", "ingle-scheduler", node, [extender, scheduler])


def gateway_pod(node: str, settings: dict[str, str]) -> Object:
    """Envoy and the router share a pod; Envoy's configuration comes from the router's command."""
    router = _container("router", ["ingle-router"], PORT_ROUTER, settings)
    config = {"name": "config", "mountPath": "/config"}
    write = {
        "name": "envoy-config",
        "image": IMAGE,
        "command": ["sh", "-c", "ingle-router envoy-config > /config/envoy.yaml"],
        "env": environment(settings),
        "volumeMounts": [config],
    }
    envoy = {
        "name": "envoy",
        "image": ENVOY_IMAGE,
        "args": [
            "-c",
            "/config/envoy.yaml",
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ],
        "volumeMounts": [config],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    return _pod(
        "ingle-gateway-0",
        "gateway",
        "ingle-router",
        node,
        [router, envoy],
        hostNetwork=True,
        initContainers=[write],
        volumes=[{"name": "config", "emptyDir": {}}],
    )


def agent_pod(node: str, settings: dict[str, str], *, pod_resources: bool = False) -> Object:
    """A reader, which has the token, and a setter of limits. `pod_resources`: it asks the kubelet which GPUs holder pods
    got.
    """
    state = {"name": "state", "hostPath": {"path": "/var/lib/ingle", "type": "DirectoryOrCreate"}}
    shared = [{"name": "state", "mountPath": "/var/lib/ingle"}, {"name": "setter", "mountPath": "/run/ingle"}]
    both = [
        {"name": "INGLE_JOURNAL", "value": "/var/lib/ingle/limits.json"},
        {"name": "INGLE_SETTER_SOCKET", "value": "/run/ingle/limits.sock"},
    ]
    container = _container("agent", ["ingle-agent"], PORT_AGENT, settings)
    container["volumeMounts"] = [*shared, {"name": "token", "mountPath": TOKEN_PATH, "readOnly": True}]
    container["env"] += [*both, {"name": "INGLE_CACHE_ROOT", "value": "/var/lib/ingle/cache"}]
    setter = {"name": "setter", "image": IMAGE, "command": ["ingle-agent", "setter"], "env": both}
    setter["volumeMounts"] = shared
    volumes = [state, {"name": "setter", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, _token()]
    if pod_resources:
        folder = "/var/lib/kubelet/pod-resources"
        volumes.append({"name": "pod-resources", "hostPath": {"path": folder, "type": "Directory"}})
        container["volumeMounts"].append({"name": "pod-resources", "mountPath": folder, "readOnly": True})
        container["env"].append({"name": "INGLE_POD_RESOURCES_SOCKET", "value": f"{folder}/kubelet.sock"})
    spec = {"volumes": volumes, "automountServiceAccountToken": False}
    return _pod(f"ingle-agent-{node}", "agent", "ingle-agent", node, [container, setter], **spec)


def _token() -> Object:
    """What the API server mounts into every container where it is left to it."""
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources: list[Object] = [{"serviceAccountToken": {"path": "token"}}, {"configMap": authority}]
    return {"name": "token", "projected": {"sources": sources}}
