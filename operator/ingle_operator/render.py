"""A pool and a variant to the pod of one engine."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import orjson

from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.kube import Object
from ingle_kit.names import (
    ANNOTATION_PLACEMENT,
    GATE_AWAKE,
    INFERENCE_POOL,
    LABEL_POOL,
    LABEL_REVISION,
    LABEL_VARIANT,
    RESOURCE_GPU_MEMORY,
    SCHEDULER_NAME,
)
from ingle_kit.objects import InferencePoolSpec, Placement, Variant, dump
from ingle_kit.objects.asks import placement_ask
from ingle_operator.adapters import ADAPTERS
from ingle_operator.adapters.spare import launcher_port
from ingle_operator.attach import DRIVERS, Attachment
from ingle_operator.caches import NodeCache, with_cache
from ingle_operator.launcher import Launcher, with_launcher
from ingle_operator.overlay import CLOSED, pod_fields, volumes
from ingle_operator.parse import Pool

BASE_MEMORY_MIB = 2048
GRACE_S = 30
START_SLACK_S = 30  # we end a start that takes too long, with a reason; the kubelet only after us
REVISIONS_MAX = 8192

_revisions: dict[
    int, tuple[InferencePoolSpec, dict[str, str]]
] = {}  # by id of a spec that is kept alive beside it


def revision_of(spec: InferencePoolSpec, variant: Variant) -> str:
    """Short hash of everything that a running engine cannot take over without a new process."""
    known, revisions = _revisions.get(id(spec), (None, {}))
    if known is not spec:
        if len(_revisions) >= REVISIONS_MAX:
            _revisions.clear()
        revisions = {}
        _revisions[id(spec)] = (spec, revisions)
    if variant.name not in revisions:
        revisions[variant.name] = _revision(spec, variant)
    return revisions[variant.name]


def _revision(spec: InferencePoolSpec, variant: Variant) -> str:
    parts = {
        "model": spec.model,
        "engine": dump(spec.engine),
        "variant": dump(variant),
        "template": dump(spec.template),
        "placement": _must(spec.placement),
    }
    if spec.warm.level != "L1":
        parts["level"] = spec.warm.level
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]


def _must(placement: Placement) -> dict[str, Any]:
    """Without preferences among places that fit: they move no engine that has a place."""
    return {field: value for field, value in dump(placement).items() if field != "scorerPercent"}


DEFAULT_ATTACHMENT = DRIVERS["RuntimeClassEnv"]("")


def placement_of(
    pool: Pool, spec: InferencePoolSpec, variant: Variant, attachment: Attachment = DEFAULT_ATTACHMENT
) -> dict[str, Any]:
    """The annotation that the extender reads."""
    extra = attachment.gpu_annotation
    more = {"gpuAnnotation": msgspec.to_builtins(extra)} if extra else {}
    return placement_ask(pool.name, spec, variant) | more


def _engine_args(spec: InferencePoolSpec, variant: Variant) -> list[str]:
    return [*ADAPTERS[spec.engine.kind].arguments(spec, variant), *spec.engine.args, *variant.args]


def _field(path: str) -> dict[str, Any]:
    return {"fieldRef": {"fieldPath": path}}


def _env(kind: str, attachment: Attachment) -> list[dict[str, Any]]:
    return [
        {"name": "POD_IP", "valueFrom": _field("status.podIP")},
        {"name": "INGLE_POD_UID", "valueFrom": _field("metadata.uid")},
        *attachment.env,
        *({"name": name, "value": value} for name, value in ADAPTERS[kind].env.items()),
    ]


def _container(spec: InferencePoolSpec, variant: Variant, attachment: Attachment) -> dict[str, Any]:
    memory = variant.memory_mib
    host_mib = str(BASE_MEMORY_MIB + memory.host)
    kept_mib = host_mib if spec.warm.level == "L1" else str(BASE_MEMORY_MIB)
    command = ADAPTERS[spec.engine.kind].command
    gpu_mib = str(variant.gpus * memory.awake)
    spare = level_of(spec.warm.level) is Level.SPARE
    health = {
        "httpGet": {"path": "/health", "port": launcher_port(spec.engine.port) if spare else spec.engine.port}
    }
    return {
        "name": "engine",
        "image": spec.engine.image,
        **({"command": list(command)} if command else {}),
        "args": _engine_args(spec, variant),
        "env": _env(spec.engine.kind, attachment),
        "ports": [{"name": "http", "containerPort": spec.engine.port}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": CLOSED,
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{kept_mib}Mi", RESOURCE_GPU_MEMORY: gpu_mib},
            "limits": {"memory": f"{host_mib}Mi", RESOURCE_GPU_MEMORY: gpu_mib},
        },
        "readinessProbe": health | {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 3},
        "livenessProbe": health | {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 4},
        "startupProbe": health
        | {
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": spec.engine.start_seconds + START_SLACK_S,
        },
    }


def _pod_spec(spec: InferencePoolSpec, variant: Variant, attachment: Attachment) -> dict[str, Any]:
    found, mounts = volumes(spec.template, spec.engine.weights)
    container = _container(spec, variant, attachment)
    container["env"] += [dump(item) for item in spec.template.env]
    container |= {"volumeMounts": mounts} if mounts else {}
    pod_spec = pod_fields(spec.template) | attachment.pod_fields
    pod_spec |= {
        "schedulerName": SCHEDULER_NAME,
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "readinessGates": [{"conditionType": GATE_AWAKE}],
        "containers": [container],
    }
    pod_spec |= {"volumes": found} if found else {}
    pod_spec |= {"nodeSelector": dict(spec.placement.node_selector)} if spec.placement.node_selector else {}
    return pod_spec


def engine_pod(
    pool: Pool,
    spec: InferencePoolSpec,
    variant: Variant,
    name: str,
    attachment: Attachment = DEFAULT_ATTACHMENT,
    launcher: Launcher | None = None,
    cache: NodeCache | None = None,
    *,
    spare: bool = False,
) -> Object:
    """The pod of one new engine; `spare`: its launcher loads nothing at first."""
    namespace, pool_name = pool.key
    labels = {LABEL_POOL: pool_name, LABEL_VARIANT: variant.name, LABEL_REVISION: revision_of(spec, variant)}
    ask = placement_of(pool, spec, variant, attachment) | ({"spare": True} if spare else {})
    started = with_launcher(_pod_spec(spec, variant, attachment), spec, launcher)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(spec.template.labels) | labels,
            "annotations": dict(spec.template.annotations)
            | {ANNOTATION_PLACEMENT: orjson.dumps(ask).decode()},
            "ownerReferences": [owner_of(pool)],
        },
        "spec": with_cache(started, spec, ask, cache),
    }


def owner_of(pool: Pool) -> Object:
    """Deleting the pool deletes its engines, by the garbage collector: no finalizer."""
    return {
        "apiVersion": INFERENCE_POOL.api_version,
        "kind": INFERENCE_POOL.kind,
        "name": pool.key[1],
        "uid": pool.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
