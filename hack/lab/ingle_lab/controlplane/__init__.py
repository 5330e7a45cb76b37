"""The lab's control plane: built from source once, run on loopback."""

from ingle_lab.controlplane.binaries import build, kubectl_path
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.kubeconfig import write_kubeconfig
from ingle_lab.controlplane.plane import ControlPlane
from ingle_lab.controlplane.settings import Ports, Settings, lab_dir

__all__ = [
    "ControlPlane",
    "ControlPlaneError",
    "Ports",
    "Settings",
    "build",
    "kubectl_path",
    "lab_dir",
    "write_kubeconfig",
]
