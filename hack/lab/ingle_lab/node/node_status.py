"""A Node object as a kubelet registers and reports it. Pure."""

from __future__ import annotations

import uuid
from typing import Any

from ingle_kit.kube import Object
from ingle_lab.node.config import NodeConfig
from ingle_lab.node.quantity import parse_quantity

_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def labels_of(config: NodeConfig) -> dict[str, str]:
    """The labels every node has, and the configured ones."""
    return {
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    } | config.labels


def node_object(config: NodeConfig) -> Object:
    """What is created at registration; taints can be given only here (the API refuses them later)."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": config.name, "labels": labels_of(config)},
        "spec": {"taints": config.taints} if config.taints else {},
    }


def labels_patch(node: Object, config: NodeConfig) -> Object:
    """Merge patch for the labels that differ; empty when none does."""
    current = node["metadata"].get("labels") or {}
    differing = {name: value for name, value in labels_of(config).items() if current.get(name) != value}
    return {"metadata": {"labels": differing}} if differing else {}


def node_status_patch(
    node: Object, config: NodeConfig, boot_id: str, version: str, kernel: str, now: str
) -> Object:
    """Strategic merge patch of what this node owns in its status; empty when nothing differs.

    Extended resources and conditions that others wrote stay. `now` is RFC 3339.
    """
    current = node.get("status") or {}
    patch: Object = {}
    for field in ("capacity", "allocatable"):
        differing = _differing_amounts(current.get(field) or {}, config.resources())
        if differing:
            patch[field] = differing
    addresses = [
        {"type": "InternalIP", "address": config.address},
        {"type": "Hostname", "address": config.name},
    ]
    if current.get("addresses") != addresses:
        patch["addresses"] = [{"$patch": "replace"}, *addresses]
    info = _node_info(config, boot_id, version, kernel)
    if any((current.get("nodeInfo") or {}).get(name) != value for name, value in info.items()):
        patch["nodeInfo"] = info
    conditions = _differing_conditions(current.get("conditions") or [], now)
    if conditions:
        patch["conditions"] = conditions
    return {"status": patch} if patch else {}


def _differing_amounts(current: dict[str, Any], wanted: dict[str, str]) -> dict[str, str]:
    return {
        name: amount
        for name, amount in wanted.items()
        if name not in current or parse_quantity(current[name]) != parse_quantity(amount)
    }


def _differing_conditions(current: list[Object], now: str) -> list[Object]:
    there = {condition["type"]: condition for condition in current}
    wanted = [_condition(name, "False", reason, message) for name, reason, message in _PRESSURES]
    wanted.append(_condition("Ready", "True", "KubeletReady", "the node stand-in is posting ready status"))
    differing = []
    for condition in wanted:
        before = there.get(condition["type"], {})
        if any(before.get(field) != value for field, value in condition.items()):
            same = before.get("status") == condition["status"]
            changed_at = before.get("lastTransitionTime", now) if same else now
            differing.append(condition | {"lastHeartbeatTime": now, "lastTransitionTime": changed_at})
    return differing


def _condition(name: str, status: str, reason: str, message: str) -> Object:
    return {"type": name, "status": status, "reason": reason, "message": message}


def _node_info(config: NodeConfig, boot_id: str, version: str, kernel: str) -> Object:
    machine_id = uuid.uuid5(uuid.NAMESPACE_DNS, config.name).hex
    return {
        "architecture": "amd64",
        "bootID": boot_id,
        "containerRuntimeVersion": "lab://1.0.0",
        "kernelVersion": kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": version,
        "machineID": machine_id,
        "operatingSystem": "linux",
        "osImage": "Ingle lab",
        "systemUUID": machine_id,
    }
