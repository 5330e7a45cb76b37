"""The whole program: its nodes, their switch, and the bound on log files."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from ingle_lab.node.config import Config, ConfigError, checked
from ingle_lab.node.context import api_server_of
from ingle_lab.node.control import Control
from ingle_lab.node.node import LabNode

LOG_CHECK_S = 10.0


class NodeProgram:
    """Plays the kubelet for every node of a configuration. Raises ConfigError when it cannot be used."""

    def __init__(self, config: Config) -> None:
        self._config = checked(config)
        self._apis = {node.name: api_server_of(Path(node.kubeconfig)) for node in config.nodes}
        self.nodes: dict[str, LabNode] = {}

    async def run(self) -> None:
        """Runs until cancelled, then ends every process it started (2 s of grace). Once per object."""
        config = self._config
        with ExitStack() as stack:
            for node in config.nodes:
                _lock(Path(config.lab_dir) / "nodes" / node.name, stack)
            self.nodes = {node.name: LabNode(node, config, self._apis[node.name]) for node in config.nodes}
            control = Control(self.nodes, config.socket_path())
            await control.start()
            try:
                async with asyncio.TaskGroup() as group:
                    for lab_node in self.nodes.values():
                        group.create_task(lab_node.run())
                    group.create_task(self._bound_logs())
            finally:
                await control.stop()

    async def ready(self) -> None:
        """Returns once every node is registered. Call it while `run` runs."""
        for node in self.nodes.values():
            await node.registered.wait()

    async def _bound_logs(self) -> None:
        folder = Path(self._config.lab_dir) / "logs"
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for path in folder.glob("*_*_*.log"):
                bound_log(path, self._config.log_bytes_max)


def bound_log(path: Path, bytes_max: int) -> None:
    """Moves a log past half of `bytes_max` to NAME.log.1 and empties it; writers append, so they go on."""
    if path.stat().st_size > bytes_max // 2:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)


def _lock(folder: Path, stack: ExitStack) -> None:
    """One program a node, or two would kill each other's processes."""
    folder.mkdir(parents=True, exist_ok=True)
    held = stack.enter_context((folder / "lock").open("w"))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(f"another node stand-in runs the node of {folder}: stop it first") from error
