"""What an engine's pod gets of its node's disk: a compile cache of its own key, and the node's copy of its weights.

Only where the administrator has switched it on (INGLE_CACHE_HOST_PATH), since both are hostPath volumes, which Pod
Security allows in privileged namespaces only. An engine sees nothing but its own two folders: each is a mount of its
own, and the copy is read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ingle_core.warmpool.cachekey import SEPARATOR, folder_of
from ingle_kit.fetch import COMMAND
from ingle_kit.names import ANNOTATION_HARDWARE
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.overlay import CLOSED

CACHE_VARIABLE: Final = "VLLM_CACHE_ROOT"
HARDWARE_VARIABLE: Final = "INGLE_HARDWARE"
COMPILE_VOLUME, COMPILE_PATH = "ingle-compile", "/ingle/compile"
COPY_VOLUME, COPY_PATH = "ingle-weights", "/ingle/copy"
CLAIM_PATH: Final = "/ingle/claim"
SEEN_VOLUME: Final = "ingle-weights-seen"
CLAIM_VOLUME: Final = "weights"


@dataclass(frozen=True)
class NodeCache:
    """`host_path`: the agents' cache folder on each node. `image`: one of ours that has `ingle-fetch`; empty: engines
    read weights from their claims."""

    host_path: str
    image: str = ""


def with_cache(
    pod_spec: dict[str, Any], spec: InferencePoolSpec, ask: Mapping[str, Any], cache: NodeCache | None
) -> dict[str, Any]:
    """The pod's spec with what its ask names of the node's disk; as it was without a cache."""
    if cache is None:
        return pod_spec
    if ask.get("compileKey") and not any(item.name == CACHE_VARIABLE for item in spec.template.env):
        pod_spec = _with_compile_cache(pod_spec, str(ask["compileKey"]), cache)
    if ask.get("weights") and cache.image:
        pod_spec = _with_copy(pod_spec, spec, str(ask["weights"]), cache)
    return pod_spec


def _with_compile_cache(pod_spec: dict[str, Any], base: str, cache: NodeCache) -> dict[str, Any]:
    """The rest of the key is known to the Binding alone; the downward API brings it into the mount's path."""
    path = f"metadata.annotations['{ANNOTATION_HARDWARE}']"
    mount = {
        "name": COMPILE_VOLUME,
        "mountPath": COMPILE_PATH,
        "subPathExpr": f"{base}{SEPARATOR}$({HARDWARE_VARIABLE})",
    }
    env = [
        {"name": HARDWARE_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}},
        {"name": CACHE_VARIABLE, "value": COMPILE_PATH},
    ]
    engine, *others = pod_spec["containers"]
    engine = engine | {
        "env": [*engine["env"], *env],
        "volumeMounts": [*engine.get("volumeMounts", ()), mount],
    }
    volume = folder_volume(COMPILE_VOLUME, cache, "compile")
    return pod_spec | {
        "containers": [engine, *others],
        "volumes": [*pod_spec.get("volumes", ()), volume],
    }


def _with_copy(
    pod_spec: dict[str, Any], spec: InferencePoolSpec, name: str, cache: NodeCache
) -> dict[str, Any]:
    """The engine sees its claim through links, of which the one of its weights leads to the copy where that is whole."""
    weights = spec.engine.weights
    assert weights is not None
    claim = {"name": CLAIM_VOLUME, "mountPath": CLAIM_PATH, "readOnly": True}
    copy = {"name": COPY_VOLUME, "mountPath": COPY_PATH, "subPath": folder_of(name), "readOnly": True}
    engine, *others = pod_spec["containers"]
    seen_at = next(m["mountPath"] for m in engine["volumeMounts"] if m["name"] == CLAIM_VOLUME)
    seen = {"name": SEEN_VOLUME, "mountPath": seen_at}
    kept = [mount for mount in engine["volumeMounts"] if mount["name"] != CLAIM_VOLUME]
    engine = engine | {"volumeMounts": [*kept, seen | {"readOnly": True}, claim, copy]}
    words = ["link", "--claim", CLAIM_PATH, "--path", weights.path, "--copy", COPY_PATH, "--at", seen_at]
    linker = {
        "name": "weights",
        "image": cache.image,
        "command": [COMMAND, *words],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": CLOSED,
        "volumeMounts": [seen, claim, copy],
    }
    volumes = [
        {"name": SEEN_VOLUME, "emptyDir": {"sizeLimit": "16Mi"}},
        folder_volume(COPY_VOLUME, cache, "weights"),
    ]
    return pod_spec | {
        "initContainers": [*pod_spec.get("initContainers", ()), linker],
        "containers": [engine, *others],
        "volumes": [*pod_spec.get("volumes", ()), *volumes],
    }


def folder_volume(name: str, cache: NodeCache, folder: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": f"{cache.host_path}/{folder}", "type": "DirectoryOrCreate"}}
