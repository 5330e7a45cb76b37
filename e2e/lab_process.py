"""A lab of one node in a process of its own, to be killed: `lab_process.py FOLDER`; says `ready`, then waits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ingle_lab.controlplane import Settings
from ingle_lab.stack import LabNode, Stack

BASE = 60


async def main() -> None:
    nodes = (LabNode("gpu-1", "h100x8"),)
    async with Stack(Path(sys.argv[1]), nodes=nodes, base=BASE, plane=Settings(ports="auto")):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
