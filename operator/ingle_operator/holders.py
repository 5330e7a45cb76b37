"""Holder pods: what they look like, and how many a node needs. Pure.

A holder asks the default scheduler for the GPUs of a managed node, so that nobody else is given them: the stock
device plugin and autoscalers see them as used. Which node is managed is said by its label `ingle.dev/managed`:
`true` for all its GPUs, or a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ingle_kit.holders import holder_name
from ingle_kit.kube import Object
from ingle_kit.names import (
    ANNOTATION_HOLDS,
    COMPONENT_HOLDER,
    LABEL_COMPONENT,
    PRIORITY_HOLDER,
    RESOURCE_NVIDIA_GPU,
    SERVICE_ACCOUNT,
)
from ingle_kit.objects import GpuStatus, HeldBy

ALL = "true"


@dataclass(frozen=True)
class Holder:
    """A holder pod. `node`: the one it is for, bound or not. `pending`: why it cannot be placed, empty if it can."""

    key: tuple[str, str]
    uid: str
    node: str
    gpus: int
    ended: bool
    deleting: bool
    pending: str


def holder_of(obj: Object) -> Holder:
    """Raises KeyError for a pod that bears the label without being a holder of ours."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    scheduled = {c["type"]: c for c in status.get("conditions") or ()}.get("PodScheduled") or {}
    limits = obj["spec"]["containers"][0]["resources"]["limits"]
    return Holder(
        key=(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        node=metadata["annotations"][ANNOTATION_HOLDS],
        gpus=int(limits[RESOURCE_NVIDIA_GPU]),
        ended=status.get("phase") in ("Failed", "Succeeded"),
        deleting="deletionTimestamp" in metadata,
        pending=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
    )


def wanted_gpus(label: str | None, allocatable: int) -> int:
    """GPUs to hold on a node that offers `allocatable`; 0 where it is not managed or offers none.

    Raises ValueError for a label that is neither `true` nor a number from 1.
    """
    if label is None:
        return 0
    if label == ALL:
        return allocatable
    if not label.isdecimal() or int(label) < 1:
        raise ValueError(f"label ingle.dev/managed: {label!r} is neither true nor a number from 1")
    return int(label) if allocatable else 0


def takes_claims(held_by: HeldBy | None, managed: bool) -> bool:
    """Whether a GPU is ours to give; `managed`: its node has the label. `held_by` None: the agent does not ask.

    On a managed node only what a holder has: what nobody has there is the kubelet's to give. A node without the label
    is fenced by nothing; what the kubelet gave to others is theirs there too.
    """
    if held_by is None or held_by == "Holder":
        return True
    return held_by == "Nobody" and not managed


def not_ours(gpus: Iterable[GpuStatus], managed: bool) -> dict[str, str]:
    """UUID -> why, in words, of a node's GPUs that are certainly not ours; a silent kubelet accuses nobody."""
    words = {"Other": "the kubelet gave it to another pod", "Nobody": "no holder pod has it"}
    return {
        gpu.uuid: words[gpu.held_by]
        for gpu in gpus
        if gpu.held_by in words and not takes_claims(gpu.held_by, managed)
    }


@dataclass(frozen=True)
class HolderPlan:
    """Pods to delete, and GPUs that one more pod is to hold (0: none)."""

    delete: tuple[Holder, ...] = ()
    create_gpus: int = 0


def plan_holders(label: str | None, wanted: int, takes_pods: bool, holders: Iterable[Holder]) -> HolderPlan:
    """What to change on one node; asked again until nothing is left.

    What is held is never let go to hold more: one more pod takes the rest. Of an unhealthy GPU fewer are allocatable,
    which is no reason to give the others up; only the label lowers what is held. A cordoned or absent node
    (`takes_pods` False) gets no new holder, so that a drain ends.
    """
    known = sorted(holders, key=lambda h: h.key)
    ended = tuple(h for h in known if h.ended and not h.deleting)
    if ended:
        return HolderPlan(delete=ended)
    live = [h for h in known if not h.ended]
    held = sum(h.gpus for h in live)
    if held > wanted and label != ALL:
        return HolderPlan(delete=_too_much(live, held - wanted))
    return HolderPlan(create_gpus=wanted - held if takes_pods and held < wanted else 0)


def _too_much(live: list[Holder], gpus: int) -> tuple[Holder, ...]:
    """As few as give up so many GPUs, the newest first; what is being deleted counts as given up."""
    going: list[Holder] = []
    left = gpus - sum(h.gpus for h in live if h.deleting)
    for holder in reversed([h for h in live if not h.deleting]):
        if left > 0:
            going.append(holder)
            left -= holder.gpus
    return tuple(going)


def holder_pod(node: str, number: int, gpus: int, namespace: str, image: str, owner_uid: str) -> Object:
    """Owned by our service account, so that it goes with an uninstall, and as a pod that has a controller, so that a
    drain needs no force.

    Pinned to its node as DaemonSets' pods are. It outranks other pods but never pushes one out.
    """
    amount: dict[str, Any] = {"cpu": "1m", "memory": "16Mi", RESOURCE_NVIDIA_GPU: str(gpus)}
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [here]}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": holder_name(node, number),
            "namespace": namespace,
            "labels": {LABEL_COMPONENT: COMPONENT_HOLDER},
            "annotations": {
                ANNOTATION_HOLDS: node,
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            },
            "ownerReferences": [_owner(owner_uid)],
        },
        "spec": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
            "tolerations": [{"operator": "Exists"}],
            "priorityClassName": PRIORITY_HOLDER,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65535,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "holder",
                    "image": image,
                    "resources": {"requests": amount, "limits": amount},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def _owner(uid: str) -> Object:
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.kind,
        "name": "ingle-operator",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
