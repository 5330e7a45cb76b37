"""A real node beside the real control plane: kubelet, containerd, runc and CNI in namespaces of their own."""

from ingle_lab.realnode.node import RealNode, RealNodeError

__all__ = ["RealNode", "RealNodeError"]
