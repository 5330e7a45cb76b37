"""`InferencePool.spec.template`: what a pool may add to its engine pods, and what it may not."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ingle_kit.objects.base import ATOMIC, ApiModel, Label63, LabelValue, Mib, Name253, Rule, list_map

FORBIDDEN_KEY_PREFIXES = ("cdi.k8s.io/", "container.apparmor.security.beta.kubernetes.io/")
FORBIDDEN_ENV = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")

_KEYS_CEL = (
    "!has(self.{field}) || self.{field}.all(k, !k.startsWith('ingle.dev/') && !k.contains('.ingle.dev/')"
    " && !k.startsWith('cdi.k8s.io/') && !k.startsWith('container.apparmor.security.beta.kubernetes.io/'))"
)


def _our_key(key: str) -> bool:
    return key.startswith(("ingle.dev/", *FORBIDDEN_KEY_PREFIXES)) or ".ingle.dev/" in key


class KeyRef(ApiModel):
    """A key of a Secret or ConfigMap in the pool's namespace."""

    name: Name253 = Field(description="Name of the Secret or ConfigMap, in the pool's namespace.")
    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Key in it.")
    optional: bool = Field(
        default=False, description="Whether the pod may start without it. Absent: false, it must exist."
    )


class EnvSource(ApiModel):
    """Where the value of a variable comes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "set exactly one of secretKeyRef and configMapKeyRef",
            lambda s: (s.secret_key_ref is None) != (s.config_map_key_ref is None),
        ),
    )
    secret_key_ref: KeyRef | None = Field(
        default=None, description="A key of a Secret. Absent: not from a Secret."
    )
    config_map_key_ref: KeyRef | None = Field(
        default=None, description="A key of a ConfigMap. Absent: not from a ConfigMap."
    )


class EnvVar(ApiModel):
    """One environment variable of the engine."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.value) != has(self.valueFrom)",
            "set exactly one of value and valueFrom",
            lambda s: (s.value is None) != (s.value_from is None),
        ),
        Rule(
            "!self.name.startsWith('INGLE_') && !(self.name in ['CUDA_VISIBLE_DEVICES', 'NVIDIA_VISIBLE_DEVICES'])",
            "this variable is set by Ingle, which chooses the GPUs: remove it from spec.template.env",
            lambda s: not s.name.startswith("INGLE_") and s.name not in FORBIDDEN_ENV,
        ),
    )
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the variable. INGLE_*, CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES are ours."
    )
    value: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Its value. Absent: taken from valueFrom."
    )
    value_from: EnvSource | None = Field(
        default=None, description="Where its value comes from. Absent: value is used."
    )


class Toleration(ApiModel):
    """A node taint that engines of this pool tolerate, as in a pod."""

    key: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Taint key. Absent: every key (operator must be Exists)."
    )
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Absent: Equal.")
    value: LabelValue | None = Field(default=None, description="Taint value for Equal. Absent: empty.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Taint effect. Absent: every effect."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None, description="For NoExecute, seconds the pod stays. Absent: for ever."
    )


class Volume(ApiModel):
    """A volume and where the engine sees it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.name in ['shm', 'weights'])",
            "the volumes shm and weights are made by Ingle (sharedMemoryMiB, spec.engine.weights): rename this one",
            lambda s: s.name not in ("shm", "weights"),
            ".name",
        ),
        Rule(
            "!has(self.hostPath)",
            "hostPath would open the node to the engine: use claimName, secretName, configMapName or emptyDirMiB",
            lambda s: s.host_path is None,
        ),
        Rule(
            "has(self.hostPath) || [has(self.claimName), has(self.secretName), has(self.configMapName),"
            " has(self.emptyDirMiB)].filter(x, x).size() == 1",
            "set exactly one of claimName, secretName, configMapName and emptyDirMiB",
            lambda s: (
                s.host_path is not None
                or sum(
                    x is not None for x in (s.claim_name, s.secret_name, s.config_map_name, s.empty_dir_mib)
                )
                == 1
            ),
        ),
    )
    name: Label63 = Field(description="Name of the volume, unique in the pool; shm and weights are ours.")
    mount_path: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^:]*$")] = Field(
        description="Absolute path in the engine's container."
    )
    read_only: bool = Field(default=False, description="Whether it is mounted read-only. Absent: false.")
    claim_name: Name253 | None = Field(
        default=None, description="A PersistentVolumeClaim. Absent: not a claim."
    )
    secret_name: Name253 | None = Field(default=None, description="A Secret. Absent: not a Secret.")
    config_map_name: Name253 | None = Field(default=None, description="A ConfigMap. Absent: not a ConfigMap.")
    empty_dir_mib: Mib | None = Field(
        default=None, description="An empty folder of at most this many MiB. Absent: none."
    )
    host_path: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Refused: a pool has no way to a node's files."
    )


class SecurityContext(ApiModel):
    """User and groups of the engine's processes."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.privileged)",
            "engines are never privileged: remove spec.template.securityContext.privileged",
            lambda s: s.privileged is None,
        ),
    )
    run_as_user: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = Field(
        default=None, description="User id. Absent: the image's."
    )
    run_as_group: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = Field(
        default=None, description="Group id. Absent: the image's."
    )
    run_as_non_root: bool | None = Field(
        default=None,
        description="Whether an image that would run as root is refused by the node; namespaces that enforce Pod Security "
        "restricted ask for true. Absent: true where runAsUser is set, else false: most images of engines run as root.",
    )
    fs_group: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = Field(
        default=None, description="Group that owns mounted volumes. Absent: unchanged."
    )
    privileged: bool | None = Field(default=None, description="Refused: engines are never privileged.")


class LocalRef(ApiModel):
    """An object of the pool's namespace, by name."""

    name: Name253 = Field(description="Name of the object, in the pool's namespace.")


def _refused(cel_name: str, name: str, why: str) -> Rule:
    return Rule(
        f"!has(self.{cel_name})",
        f"{why}: remove spec.template.{cel_name}",
        lambda s: getattr(s, name) is None,
    )


class Template(ApiModel):
    """What is added to each engine pod. Whatever would reach past the pod is refused."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _refused("hostNetwork", "host_network", "an engine has its own network"),
        _refused("hostPID", "host_pid", "an engine sees its own processes only"),
        _refused("hostIPC", "host_ipc", "an engine has its own shared memory (see sharedMemoryMiB)"),
        _refused(
            "nodeName", "node_name", "the node is chosen by the scheduler (see spec.placement.nodeSelector)"
        ),
        _refused("schedulerName", "scheduler_name", "engines are placed by Ingle's scheduler"),
        Rule(
            _KEYS_CEL.format(field="labels"),
            "keys of ingle.dev, cdi.k8s.io and AppArmor are not a pool's to set: remove them from"
            " spec.template.labels",
            lambda s: not any(_our_key(key) for key in s.labels),
        ),
        Rule(
            _KEYS_CEL.format(field="annotations"),
            "keys of ingle.dev, cdi.k8s.io and AppArmor are not a pool's to set: remove them from"
            " spec.template.annotations",
            lambda s: not any(_our_key(key) for key in s.annotations),
        ),
    )
    labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict, description="Labels added to engine pods. Absent: none but ours."
    )
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=16)] = Field(
        default_factory=dict, description="Annotations added to engine pods. Absent: none but ours."
    )
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=list_map("name"))] = Field(
        default_factory=list, description="Environment variables of the engine. Absent: none but ours."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Node taints that engines tolerate. Absent: none."
    )
    image_pull_secrets: Annotated[list[LocalRef], Field(max_length=8, json_schema_extra=list_map("name"))] = (
        Field(default_factory=list, description="Secrets for pulling the image. Absent: none.")
    )
    volumes: Annotated[list[Volume], Field(max_length=16, json_schema_extra=list_map("name"))] = Field(
        default_factory=list, description="Volumes mounted into the engine. Absent: none but the weights."
    )
    shared_memory_mib: Mib | None = Field(
        default=None, description="Size of /dev/shm in MiB. Absent: the container runtime's (64 MiB)."
    )
    security_context: SecurityContext | None = Field(
        default=None, description="User and groups of the engine. Absent: the image's user."
    )
    host_network: bool | None = Field(default=None, description="Refused: an engine has its own network.")
    host_pid: bool | None = Field(
        default=None, alias="hostPID", description="Refused: an engine sees its own processes only."
    )
    host_ipc: bool | None = Field(
        default=None, alias="hostIPC", description="Refused: an engine has its own shared memory."
    )
    node_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Refused: the node is chosen by the scheduler."
    )
    scheduler_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Refused: engines are placed by Ingle's scheduler."
    )
