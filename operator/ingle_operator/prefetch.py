"""Copiers: pods that put weights on a node's disk. What they look like. Pure.

A copier runs in the pool's namespace, since the claim is there, and mounts that read-only and the node's folder of
copies. It is root, who owns that folder, without any right but to read every file of the claim.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ingle_core.warmpool.cachekey import folder_of
from ingle_core.warmpool.prefetch import Job
from ingle_kit.fetch import COMMAND
from ingle_kit.kube import Object
from ingle_kit.names import ANNOTATION_FETCHES, COMPONENT_FETCH, LABEL_COMPONENT
from ingle_kit.objects import Weights
from ingle_operator.caches import COPY_VOLUME, NodeCache, folder_volume
from ingle_operator.parse import Pool, seconds_of, trouble_of
from ingle_operator.render import owner_of

CLAIM_PATH, TO_PATH = "/from", "/to"
DEADLINE_S: Final = 6 * 3600
GRACE_S: Final = 5
PENDING_MAX_S: Final = 600.0  # for its image, and for volumes to come
PAUSE_FIRST_S, PAUSE_MAX_S = 30.0, 1800.0


@dataclass(frozen=True)
class Copier:
    """A copier's pod. `ended_at_s`: of no meaning while it is under way; `trouble`: why it failed, or cannot be placed."""

    key: tuple[str, str]
    uid: str
    job: Job
    pool: str
    phase: str
    deleting: bool
    created_at_s: float
    ended_at_s: float
    trouble: str

    @property
    def failed(self) -> bool:
        return self.phase == "Failed"

    def stuck(self, now_s: float) -> bool:
        """Whether it has not begun for so long that it only keeps others waiting."""
        return self.phase == "Pending" and now_s - self.created_at_s > PENDING_MAX_S

    @property
    def succeeded(self) -> bool:
        return self.phase == "Succeeded"


def copier_of(obj: Object) -> Copier:
    """Raises KeyError or ValueError for a pod that bears the label without being a copier of ours."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    created_at_s = seconds_of(metadata.get("creationTimestamp"))
    told = orjson.loads(metadata["annotations"][ANNOTATION_FETCHES])
    ended = [
        (one.get("state") or {}).get("terminated") or {} for one in status.get("containerStatuses") or ()
    ]
    return Copier(
        key=(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        job=Job(str(told["weights"]), str(told["node"])),
        pool=str(told["pool"]),
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in metadata,
        created_at_s=created_at_s,
        ended_at_s=max([created_at_s, *(seconds_of(one.get("finishedAt")) for one in ended)]),
        trouble=trouble_of(status),
    )


def copier_name(job: Job) -> str:
    """One name for one copy, so that a repeated creation finds the first."""
    digest = hashlib.sha256(" ".join(job).encode()).hexdigest()[:12]
    return f"ingle-fetch-{digest}"


def pause_after_s(failures: int) -> float:
    """Pause after the n-th failure of a copy in a row."""
    return float(min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(failures - 1, 10)))


def copier_pod(pool: Pool, weights: Weights, job: Job, cache: NodeCache, reserve_mib: int) -> Object:
    """Pinned to its node as DaemonSets' pods are. It goes with its pool."""
    namespace, _ = pool.key
    here = {"key": "metadata.name", "operator": "In", "values": [job.node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [here]}]}
    told = {"weights": job.weights, "node": job.node, "pool": pool.name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": copier_name(job),
            "namespace": namespace,
            "labels": {LABEL_COMPONENT: COMPONENT_FETCH},
            "annotations": {ANNOTATION_FETCHES: orjson.dumps(told).decode()},
            "ownerReferences": [owner_of(pool)],
        },
        "spec": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_S,
            "terminationGracePeriodSeconds": GRACE_S,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [_container(weights, job, cache, reserve_mib)],
            "volumes": [
                {
                    "name": "claim",
                    "persistentVolumeClaim": {"claimName": weights.claim_name, "readOnly": True},
                },
                folder_volume(COPY_VOLUME, cache, "weights"),
            ],
        },
    }


def _container(weights: Weights, job: Job, cache: NodeCache, reserve_mib: int) -> dict[str, Any]:
    words = ["copy", "--claim", CLAIM_PATH, "--path", weights.path, "--to", TO_PATH]
    words += ["--folder", folder_of(job.weights), "--reserve-mib", str(reserve_mib)]
    return {
        "name": "fetch",
        "image": cache.image,
        "command": [COMMAND, *words],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]},
        },
        "volumeMounts": [
            {"name": "claim", "mountPath": CLAIM_PATH, "readOnly": True},
            {"name": COPY_VOLUME, "mountPath": TO_PATH},
        ],
    }
