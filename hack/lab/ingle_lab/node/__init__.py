"""The node stand-in: one program that plays the kubelet for all its nodes and runs pods as local processes.

`python -m ingle_lab.node --config FILE`, or from Python `NodeProgram(config).run()`. What differs from a real
node is in README.md beside this file.
"""

from ingle_lab.node.config import Config, Image, NodeConfig, load_config
from ingle_lab.node.program import NodeProgram

__all__ = ["Config", "Image", "NodeConfig", "NodeProgram", "load_config"]
