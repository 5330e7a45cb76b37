"""The user's bounded pod template, and the weights volume, as parts of a pod."""

from __future__ import annotations

from typing import Any, Final

from ingle_kit.objects import SecurityContext, Template, Volume, Weights, dump

CLOSED: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""The same of every container."""


def volumes(template: Template, weights: Weights | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(spec.volumes, container volumeMounts)."""
    found = [_volume(volume) for volume in template.volumes]
    mounts = [
        {"name": v.name, "mountPath": v.mount_path} | ({"readOnly": True} if v.read_only else {})
        for v in template.volumes
    ]
    if template.shared_memory_mib is not None:
        found.append(
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{template.shared_memory_mib}Mi"}}
        )
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if weights is not None:
        found.append(
            {"name": "weights", "persistentVolumeClaim": {"claimName": weights.claim_name, "readOnly": True}}
        )
        mounts.append({"name": "weights", "mountPath": "/weights", "readOnly": True})
    return found, mounts


def _volume(volume: Volume) -> dict[str, Any]:
    if volume.claim_name is not None:
        return {"name": volume.name, "persistentVolumeClaim": {"claimName": volume.claim_name}}
    if volume.secret_name is not None:
        return {"name": volume.name, "secret": {"secretName": volume.secret_name}}
    if volume.config_map_name is not None:
        return {"name": volume.name, "configMap": {"name": volume.config_map_name}}
    size = {} if volume.empty_dir_mib is None else {"sizeLimit": f"{volume.empty_dir_mib}Mi"}
    return {"name": volume.name, "emptyDir": size}


def pod_fields(template: Template) -> dict[str, Any]:
    """Fields of the pod's spec that the template sets; absent ones are left out."""
    fields = {
        "tolerations": [dump(item) for item in template.tolerations],
        "imagePullSecrets": [dump(item) for item in template.image_pull_secrets],
        "securityContext": _security(template.security_context),
    }
    return {name: value for name, value in fields.items() if value}


def _security(wanted: SecurityContext | None) -> dict[str, Any]:
    """What Pod Security `restricted` asks of a pod, but for the user, which only who knows the image can name."""
    always = {"seccompProfile": {"type": "RuntimeDefault"}}
    if wanted is None:
        return always
    non_root = {"runAsNonRoot": True} if wanted.run_as_user is not None else {}
    return always | non_root | dump(wanted)
