"""Applies YAML files by server-side apply, as kubectl does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from ingle_kit.kube import APPLY_PATCH, Kube, Object

PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "PriorityClass": "priorityclasses",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "InferencePool": "inferencepools",
    "RoutingPolicy": "routingpolicies",
}
CLUSTER_WIDE = {
    "Namespace",
    "Node",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "PriorityClass",
    "FlowSchema",
    "PowerBudget",
    "GPUNode",
}


def path_of(obj: Object) -> str:
    """URL path of an object by its kind."""
    version, kind, metadata = obj["apiVersion"], obj["kind"], obj["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    where = "" if kind in CLUSTER_WIDE else f"/namespaces/{metadata.get('namespace', 'default')}"
    return f"{root}{where}/{plural}/{metadata['name']}"


async def apply_files(kube: Kube, files: Iterable[Path], *, manager: str = "kubectl") -> list[Object]:
    """Applies every document of the files, in order. Raises KubeError for the first that is refused."""
    applied = []
    for path in files:
        for obj in yaml.safe_load_all(path.read_text()):
            if obj:
                applied.append(await apply(kube, obj, manager=manager))
    return applied


async def apply(kube: Kube, obj: Object, *, manager: str = "kubectl") -> Object:
    query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
    return await kube.request("PATCH", path_of(obj), body=obj, query=query, content_type=APPLY_PATCH)
