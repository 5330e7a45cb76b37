"""Settings of the operator, from the environment (prefix INGLE_). Times in seconds."""

from __future__ import annotations

import shlex
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingle_kit.names import PORT_OPERATOR, SYSTEM_NAMESPACE
from ingle_operator.attach import DRIVERS, Attachment
from ingle_operator.caches import NodeCache
from ingle_operator.launcher import Launcher


class OperatorSettings(BaseSettings):
    """Every field has a default that suits a cluster; tests shorten the waits."""

    model_config = SettingsConfigDict(env_prefix="INGLE_", extra="ignore")

    namespace: str = Field(SYSTEM_NAMESPACE, description="Namespace of our own pods and of the lease.")
    pod_name: str = Field(
        "ingle-operator", description="Our pod's name; with the UID, our identity as leader."
    )
    pod_uid: str = Field("", description="Our pod's UID. Empty: the process is its own identity.")
    listen: str = Field("127.0.0.1", description="Address for /metrics and /healthz.")
    port: int = Field(PORT_OPERATOR, description="Port for /metrics and /healthz.")
    lease_duration_s: float = Field(15.0, ge=3, description="How long a lease lasts without renewal.")
    lease_renew_s: float = Field(2.0, gt=0, description="How often the lease is renewed.")
    workers: int = Field(32, ge=1, description="Most keys of one kind that are worked on at once.")
    engine_workers: int = Field(
        512, ge=1, description="The same for engines: more, since their keys wait for engines' answers."
    )
    orphan_s: float = Field(60.0, ge=0, description="Age at which a claim without a pod is looked at.")
    resync_s: float = Field(300.0, gt=0, description="Every object is looked at again after this time.")
    sleep_limit_s: float = Field(120.0, gt=0, description="A sleep that takes longer has failed.")
    wake_limit_s: float = Field(60.0, gt=0, description="A wake that takes longer has failed.")
    drain_limit_s: float = Field(600.0, gt=0, description="Longest wait for an engine's last requests.")
    residue_slack_mib: int = Field(
        512, ge=0, description="Memory above the stated residue that a sleeper may keep."
    )
    residue_percent: int = Field(
        20,
        ge=0,
        le=100,
        description="Most of a GPU's memory that sleepers may keep; surplus ones stop above it.",
    )
    dwell_s: float = Field(
        30.0,
        ge=0,
        description="A pool's awake replicas turn from more to fewer at most once in four times this, or in its"
        " warm.idleSeconds where that is shorter.",
    )
    surge_wait_s: float = Field(
        30.0,
        ge=0,
        description="How long an engine of a changed pool waits for room before an old one makes way for it.",
    )
    keep_price_s: float = Field(
        0.002,
        ge=0,
        description="What a minute of 1 GiB is worth to keepAlive ExpectedUse, in seconds of waiting. 0: all stay"
        " awake while there is room.",
    )
    sleep_ahead: bool = Field(
        True,
        description="An idle engine that keepAlive holds may sleep ahead of need, so that a sleeper on its GPU has room to"
        " wake at once. false: only when another needs its room.",
    )
    probe_steady_percent: int = Field(
        130, ge=100, le=1000, description="A probe up to this share of the steady time is steady."
    )
    probe_slack_s: float = Field(
        0.05, ge=0, description="Time above that share that a probe may take all the same."
    )
    probe_rounds_max: int = Field(
        5, ge=1, le=20, description="Rounds of probes after which an engine is taken as it is."
    )
    probe_again_s: float = Field(
        300.0, ge=0, description="An engine that is awake and unused is probed again after this. 0: never."
    )
    attach: Literal["RuntimeClassEnv", "CDI"] = Field(
        "RuntimeClassEnv", description="How GPUs come into an engine's container; holds for new pods."
    )
    runtime_class: str = Field("", description="runtimeClassName of engine pods. Empty: the node's default.")
    launcher_image: str = Field(
        "",
        description="Image of ours that has ingle-launch, to keep engines on their GPUs' zone. Empty: off.",
    )
    launcher_command: str = Field(
        "vllm serve", description="What a vLLM image starts by itself, and the launcher in its place."
    )
    spare_image: str = Field(
        "",
        description="Image of ours that has ingle-spare, for pools with warm.level Spare. Empty: they get no engines.",
    )
    cache_host_path: str = Field(
        "",
        pattern=r"^(/[-A-Za-z0-9_.]+)*$",
        description="Folder of every node for compile caches and copies of weights, that of the agents"
        " (INGLE_CACHE_ROOT). Engines get hostPath volumes in it, which Pod Security allows in privileged namespaces"
        " only. Empty: off.",
    )
    cache_image: str = Field(
        "",
        description="Image of ours that has ingle-fetch, to copy weights to nodes' disks. Empty: engines read their"
        " claims.",
    )
    fetch_copies: int = Field(
        2,
        ge=0,
        description="Nodes that are to have a pool's weights on their disk, at most replicas.max. 0: none are copied.",
    )
    fetch_per_node: int = Field(1, ge=1, description="Most weights that are copied to one node at once.")
    fetch_total: int = Field(4, ge=1, description="Most weights that are copied at once in all.")
    fetch_reserve_mib: int = Field(
        51_200, ge=0, description="MiB of a node's disk that copies of weights leave free."
    )
    holder_image: str = Field(
        "registry.k8s.io/pause:3.10",
        description="Image of holder pods: anything that waits until it is ended.",
    )
    prometheus_url: str = Field(
        "",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Prometheus that scrapes our routers, for the load of the last two weeks that forecasts need. Empty:"
        " what this process has heard since its start.",
    )
    prometheus_limit_s: float = Field(10.0, gt=0, description="Longest wait for one answer of Prometheus.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="after")
    def _lease_outlives_calls(self) -> Self:
        if self.lease_duration_s < 3 * self.lease_renew_s:
            raise ValueError(
                f"INGLE_LEASE_DURATION_S ({self.lease_duration_s:g}) must be at least three times"
                f" INGLE_LEASE_RENEW_S ({self.lease_renew_s:g}): raise the first or lower the second"
            )
        return self

    @property
    def attachment(self) -> Attachment:
        """What the chosen driver adds to engine pods."""
        return DRIVERS[self.attach](self.runtime_class)

    @property
    def launcher(self) -> Launcher | None:
        """None: engines start as their image says."""
        command = tuple(shlex.split(self.launcher_command))
        images = self.launcher_image, self.spare_image
        return Launcher(self.launcher_image, command, self.spare_image) if any(images) else None

    @property
    def cache(self) -> NodeCache | None:
        """None: engines get nothing of their node's disk."""
        return NodeCache(self.cache_host_path, self.cache_image) if self.cache_host_path else None

    @property
    def call_limit_s(self) -> float:
        """Longest call to an engine that a lease renewed in time outlives."""
        return self.lease_duration_s - 2 * self.lease_renew_s

    @property
    def write_limit_s(self) -> float:
        """Longest write to the API server."""
        return min(5.0, self.call_limit_s)
