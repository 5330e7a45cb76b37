"""`ingle-agent` runs the agent; `ingle-agent setter` sets limits for it, as a process of its own; `ingle-agent restore`
gives GPUs back the limits they had before.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from ingle_agent.device import DeviceError
from ingle_agent.journal import Journal, JournalUnreadable
from ingle_agent.nvml import NvmlDevice
from ingle_agent.restore import restore
from ingle_agent.setter.serve import Setter, serve
from ingle_agent.setters import LocalSetter, RemoteSetter, SettersJournal
from ingle_agent.settings import AgentSettings

log = logging.getLogger(__name__)


def main() -> None:
    """Exit code 0 after SIGTERM or a complete restore, 1 where that failed, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="ingle-agent", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "setter", "restore"], default="run")
    command = parser.parse_args().command
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = AgentSettings()
    commands = {"run": _run, "setter": _setter, "restore": _restore}
    try:
        code = commands[command](settings)
    except (DeviceError, JournalUnreadable) as error:
        log.error("%s", error)
        code = 1
    sys.stdout.flush()
    # A thread stuck in the driver must not keep the process from ending.
    os._exit(code)


def _run(settings: AgentSettings) -> int:
    if not settings.node_name:
        log.error("INGLE_NODE_NAME is not set: set it to the name of this node (downward API: spec.nodeName)")
        return 2
    asyncio.run(_until_signal(settings))
    return 0


async def _until_signal(settings: AgentSettings) -> None:
    from ingle_agent.run import Gpus, run  # only here: the setter, small and powerful, is without all of it

    device = _opened(settings)
    if settings.setter_socket:
        remote = RemoteSetter(Path(settings.setter_socket))
        gpus = Gpus(device, remote, SettersJournal(settings.journal, boot_id()))
    else:
        gpus = Gpus(device, LocalSetter(device), _own_journal(settings))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, gpus, boot_id(), stop)


def _setter(settings: AgentSettings) -> int:
    if not settings.setter_socket:
        log.error("INGLE_SETTER_SOCKET is not set: set it to the path of the socket to make")
        return 2
    serve(Path(settings.setter_socket), Setter(_opened(settings), _own_journal(settings)))
    return 0


def _opened(settings: AgentSettings) -> NvmlDevice:
    device = NvmlDevice(settings.pci_root)
    device.open()
    return device


def _own_journal(settings: AgentSettings) -> Journal:
    journal = Journal(settings.journal, boot_id())
    journal.load_or_set_aside()
    return journal


def _restore(settings: AgentSettings) -> int:
    journal = Journal(settings.journal, boot_id())
    journal.load()
    device = _opened(settings)
    left = restore(device, journal)
    device.close()
    for line in left:
        log.error("%s", line)
    return 1 if left else 0


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
