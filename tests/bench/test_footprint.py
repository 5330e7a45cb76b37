"""Pure parts of the benchmark footprint, and what it reads of a process that is known."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from bench.footprint import in_a_minute, most, rows
from bench.footprints.usage import Usage, usage_of

KEPT = "import sys; kept = bytearray(64 << 20); print(flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {KEPT!r}])"


def test_memory_and_time_of_a_process_count_with_those_of_its_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        used = usage_of(process.pid)
        process.communicate()
    assert used.rss_mib > used.pss_mib > 64
    assert used.cpu_s > 0


def test_a_process_that_has_ended_is_an_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError, match=str(process.pid)):
        usage_of(process.pid)
    assert usage_of(os.getpid()).rss_mib > 1


def test_time_is_given_by_the_minute_and_of_several_pods_the_most_is_told() -> None:
    before = {("agent", "a"): Usage(cpu_s=10.0), ("agent", "b"): Usage(cpu_s=100.0)}
    after = {
        ("agent", "a"): Usage(80.0, 60.0, 13.0),
        ("agent", "b"): Usage(90.0, 50.0, 102.0),
        ("agent", "new"): Usage(900.0, 900.0, 900.0),
    }
    found = in_a_minute(before, after, 0.5)
    assert most(found) == {"agent": Usage(90.0, 60.0, 6.0)}
    memory, time_s = rows("100 pools", most(found))
    assert (memory["name"], memory["value"], memory["baseline_value"]) == (
        "agent, 100 pools: memory",
        90.0,
        60.0,
    )
    assert (time_s["name"], time_s["value"], time_s["unit"]) == (
        "agent, 100 pools: processor",
        6.0,
        "s a minute",
    )
