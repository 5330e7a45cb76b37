"""Pods beside ours, and what is seen inside of pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cluster import SYSTEM, Cluster, Object

REST = ["python3", "-c", "import signal; signal.sigwait({signal.SIGTERM})"]


def own_image(cluster: Cluster) -> str:
    (image,) = {
        container["image"]
        for container in cluster.get("deployment", "ingle-operator", "-n", SYSTEM)["spec"]["template"][
            "spec"
        ]["containers"]
    }
    return str(image)


def resting(
    cluster: Cluster, namespace: str, name: str, labels: dict[str, str] | None = None, **spec: Any
) -> Object:
    """A pod of our image that does nothing; `limits` goes to its container, the rest to its spec."""
    limits = spec.pop("limits", {})
    container = {
        "name": "main",
        "image": own_image(cluster),
        "command": REST,
        "resources": {"limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


def running(cluster: Cluster, namespace: str, name: str) -> bool:
    return bool(cluster.get("pod", name, "-n", namespace)["status"].get("phase") == "Running")


def environment(pod: Object, container: str) -> dict[str, str]:
    """Variables of the container's processes as they were started; `kubectl exec` starts one without the runtime's."""
    statuses = {one["name"]: one for one in pod["status"]["containerStatuses"]}
    identity = statuses[container]["containerID"].partition("://")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if identity in (folder / "cgroup").read_text():
                entries = (folder / "environ").read_bytes().decode().split("\0")
                return dict(entry.split("=", 1) for entry in entries if "=" in entry)
        except OSError:
            continue  # it ended meanwhile
    raise AssertionError(f"no process of {pod['metadata']['name']}/{container}")


DEVICES = "import glob; print(*sorted(glob.glob('/dev/nvidia*')))"


def devices(cluster: Cluster, namespace: str, name: str, container: str) -> set[str]:
    """GPUs' device nodes in the container."""
    words = ("-n", namespace, "exec", name, "-c", container, "--", "python3", "-c", DEVICES)
    return set(cluster.kubectl(*words).split())
