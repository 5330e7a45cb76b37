"""Settings of the agent, from the environment with the prefix INGLE_."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingle_kit.names import PORT_AGENT, SYSTEM_NAMESPACE


class AgentSettings(BaseSettings):
    """Every field is an environment variable: `node_name` is INGLE_NODE_NAME."""

    model_config = SettingsConfigDict(env_prefix="INGLE_", frozen=True)

    node_name: str = Field(default="", description="Name of this node, and of its GPUNode. Required to run.")
    pod_ip: str = Field(default="127.0.0.1", description="Address of this pod.")
    listen: str = Field(default="", description="Address to listen on. Empty: INGLE_POD_IP.")
    agent_port: int = Field(default=PORT_AGENT, ge=0, le=65535, description="Port to listen on.")
    kubeconfig: str = Field(default="", description="Path of a kubeconfig. Empty: the pod's service account.")
    journal: Path = Field(
        default=Path("/var/lib/ingle/limits.json"),
        description="File that remembers the limits GPUs had before the agent changed them; must survive its pod.",
    )
    setter_socket: str = Field(
        default="",
        description="Socket of the setter (`ingle-agent setter`), which then sets limits in place of this process and"
        " writes the journal. Empty: this process does.",
    )
    numa_root: Path = Field(
        default=Path("/sys/devices/system/node"),
        description="Folder with nodeN/cpulist and nodeN/meminfo, one nodeN for each NUMA zone.",
    )
    proc_root: Path = Field(
        default=Path("/proc"), description="Where processes of the node are seen (hostPID)."
    )
    pci_root: Path = Field(
        default=Path("/sys/bus/pci/devices"),
        description="Folder with ADDRESS/numa_node, used where NVML does not tell a GPU's zone.",
    )
    zone_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Seconds between two looks at where a process has its memory (numa_maps), one process a time;"
        " 0: never.",
    )
    cache_root: Path = Field(
        default=Path("/var/lib/ingle/cache"),
        description="Folder of the node with weights/NAME/ (percent-encoded) and compile/KEY/: what is there is told in"
        " GPUNode.status.warm.",
    )
    cache_seconds: float = Field(
        default=30.0, gt=0, description="Seconds between two looks into that folder."
    )
    cache_quiet_seconds: float = Field(
        default=10.0,
        ge=0,
        description="A compile cache counts once nothing in it has changed for so many seconds: until then an engine"
        " fills it.",
    )
    namespace: str = Field(default=SYSTEM_NAMESPACE, description="Namespace of holder pods.")
    pod_resources_socket: str = Field(
        default="",
        description="Socket of the kubelet's pod-resources (/var/lib/kubelet/pod-resources/kubelet.sock; mount its"
        " folder, for the kubelet makes the socket anew). Empty: not asked which GPUs holder pods got.",
    )
    pod_resources_seconds: float = Field(
        default=5.0, gt=0, description="Seconds between two questions to that socket."
    )
    pod_resources_stale_seconds: float = Field(
        default=120.0,
        ge=0,
        description="Seconds for which its last answer holds while the kubelet does not answer; then no GPU is known to"
        " be ours.",
    )
    sample_seconds: float = Field(
        default=0.25, gt=0, le=10, description="Seconds between two readings of the GPUs."
    )
    reading_deadline_seconds: float = Field(
        default=10.0,
        gt=0,
        description="A reading older than this many seconds counts as Unreadable; /healthz fails.",
    )
    silent_seconds: float = Field(
        default=60.0, gt=0, description="Seconds without a reader of the stream after which wattsSafe holds."
    )
    heartbeat_seconds: float = Field(
        default=30.0, gt=0, description="GPUNode.status is written at least this often."
    )
    foreign_mib: int = Field(
        default=256,
        ge=1,
        description="MiB that foreign memory must move for GPUNode.status to be written at once.",
    )
    stream_memory_mib: int = Field(
        default=64, ge=1, description="MiB that memory must move for a measurement to be sent at once."
    )
    stream_seconds: float = Field(
        default=1.0, gt=0, le=5, description="A measurement is sent at least this often."
    )
    retry_seconds: float = Field(
        default=2.0, gt=0, description="Seconds before a limit that did not take effect is written again."
    )

    @property
    def address(self) -> str:
        return self.listen or self.pod_ip
