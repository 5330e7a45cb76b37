"""The whole lab: control plane, nodes, our own pods; started and stopped together, on loopback."""

from ingle_lab.stack.nodes import DEMO_NODES, LabNode
from ingle_lab.stack.stack import Stack, StackError

__all__ = ["DEMO_NODES", "LabNode", "Stack", "StackError"]
