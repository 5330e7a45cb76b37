"""Configuration of the node's programs as text. Pure: paths and facts in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

NODE_NAME: Final = "real-1"
NODE_ADDRESS: Final = "10.244.0.1"
"""Of the bridge that pods hang on; it is the node's own address too."""
POD_RANGE: Final = "10.244.0.0/24"
SERVICE_ADDRESS: Final = "10.96.0.1"
"""Of the Service `kubernetes`, on loopback, where the API server listens at port 443."""
BRIDGE: Final = "pods0"
SOCKET: Final = "/run/containerd/containerd.sock"
PAUSE_IMAGE: Final = "registry.k8s.io/pause:3.10"
GPU_RUNTIME: Final = "nvidia"


def containerd(runc: Path, gpu_runtime: Path, plugins: Path, cni: Path, *, may_lower_oom: bool) -> str:
    """TOML for containerd. `may_lower_oom`: root has CAP_SYS_RESOURCE; without it every sandbox would fail."""

    def runtime(name: str, program: Path, handed_on: str = "") -> str:
        table = f"plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{name}"
        return f"""
[{table}]
runtime_type = 'io.containerd.runc.v2'
pod_annotations = [{handed_on}]
[{table}.options]
BinaryName = '{program}'
SystemdCgroup = false
"""

    return (
        f"""version = 3
root = '/var/lib/containerd'
state = '/run/containerd'

[grpc]
address = '{SOCKET}'

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = {str(not may_lower_oom).lower()}
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{plugins}']
conf_dir = '{cni}'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'
"""
        + runtime("runc", runc)
        + runtime(GPU_RUNTIME, gpu_runtime, "'cdi.k8s.io/*'")
    )


def cni() -> str:
    """A bridge without masquerading: pods and the node talk to each other and to nobody else."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}, indent=1)


def kubelet(lab: Path, ca: Path, cert: Path, key: Path) -> dict[str, Any]:
    """KubeletConfiguration. Its server asks the API server who a caller is and what he may."""
    never_evict = dict.fromkeys(("memory.available", "nodefs.available", "imagefs.available"), "0%")
    never_evict |= {"nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(ca)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(cert),
        "tlsPrivateKeyFile": str(key),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "evictionHard": never_evict,
        "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": True,
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": str(lab / "volume-plugins"),
        "staticPodPath": str(lab / "static-pods"),
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,
    }


def kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    """KubeProxyConfiguration: nftables, for Services other than `kubernetes`."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_RANGE,
        "conntrack": {"maxPerCore": 0},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }


def apiserver_flags(client: Path, client_key: Path, server: Path, server_key: Path) -> Mapping[str, str]:
    """What the API server needs beyond the lab's own: to be reached by pods, and to reach the kubelet."""
    return {
        "bind-address": "0.0.0.0",
        "advertise-address": NODE_ADDRESS,
        "endpoint-reconciler-type": "lease",  # kube-proxy refuses what is sent to a Service without endpoints
        "tls-cert-file": str(server),
        "tls-private-key-file": str(server_key),
        "kubelet-client-certificate": str(client),
        "kubelet-client-key": str(client_key),
        "kubelet-preferred-address-types": "InternalIP",
    }
