"""However the lab ends, none of its processes is left. The end of the session's own lab is checked in conftest."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from ingle_lab.checks import processes_of

LIMIT_S = 15


async def test_a_lab_whose_command_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = Path(__file__).with_name("lab_process.py")
    with (tmp_path / "lab.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"ready", (tmp_path / "lab.log").read_text()
        assert len(processes_of(tmp_path)) > 8
    finally:
        process.kill()
        await process.wait()
    deadline_s = time.monotonic() + LIMIT_S
    while left := processes_of(tmp_path):
        assert time.monotonic() < deadline_s, left
        await asyncio.sleep(0.05)
