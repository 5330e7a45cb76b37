"""Settings of the extender: environment variables with the prefix `INGLE_`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingle_kit.names import PORT_EXTENDER, SYSTEM_NAMESPACE


class Settings(BaseSettings):
    """What a person may set; times in seconds."""

    model_config = SettingsConfigDict(env_prefix="INGLE_")

    kubeconfig: str | None = Field(None, description="Kubeconfig; absent: the pod's service account.")
    listen: str = Field("127.0.0.1", description="Address to listen on; kube-scheduler is in the same pod.")
    extender_port: int = Field(PORT_EXTENDER, ge=1, le=65535)
    namespace: str = Field(SYSTEM_NAMESPACE, description="Namespace of the scheduler's Lease.")
    silent_s: float = Field(
        90.0, gt=0, description="A node whose agent is silent for longer takes nothing new."
    )
    assumed_s: float = Field(30.0, gt=0, description="How long a choice counts before its claim is seen.")
    assumed_max: int = Field(10_000, ge=1, description="Choices kept at most; the oldest go first.")
    filter_deadline_s: float = Field(
        0.2, gt=0, description="Longest that a filter call waits for the caches."
    )
    pools_wait_s: float = Field(
        5.0, ge=0, description="At start: longest wait for the InferencePools before pods are placed without."
    )
    ahead_s: float = Field(
        0.2,
        gt=0,
        description="How often what pools, profiles and ledgers changed is worked out before a pod asks.",
    )
    claim_attempts: int = Field(
        8, ge=1, le=50, description="Tries of one claim while others write the ledger."
    )
    claim_renew_s: float = Field(
        20.0,
        gt=0,
        description="A claim older than this is written anew before its pod is bound; at most a third of the "
        "operator's INGLE_ORPHAN_S, so that nobody sweeps it meanwhile.",
    )
    scheduler_kubeconfig: str = Field("", description="For scheduler-config: kubeconfig of kube-scheduler.")
    scheduler_leader_elect: bool = Field(True, description="For scheduler-config: several schedulers run.")
    scheduler_lease_s: float = Field(
        15.0, ge=3, description="For scheduler-config: how long a scheduler that ended keeps its Lease."
    )
    scheduler_backoff_max_s: int = Field(3, ge=1, description="For scheduler-config: longest pod backoff.")

    @property
    def url(self) -> str:
        """Where kube-scheduler reaches us."""
        return f"http://{self.listen}:{self.extender_port}"
