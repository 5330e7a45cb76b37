"""Where nothing changes, nothing is written."""

from __future__ import annotations

import asyncio
import os

import pytest

from ingle_lab.checks import writes_by_us
from ingle_lab.demo.scene import Scene

QUIET_S = float(os.environ.get("INGLE_E2E_QUIET_S", "15"))


@pytest.mark.timeout(QUIET_S + 90)
async def test_our_accounts_write_nothing_but_leases_and_heartbeats_while_nothing_changes(
    scene: Scene,
) -> None:
    assert scene.stack.plane is not None
    log = scene.stack.plane.audit_log
    start = log.stat().st_size
    await asyncio.sleep(QUIET_S)
    assert log.stat().st_size > start, "no write at all: not even a lease was renewed"
    assert writes_by_us(log, start) == []
