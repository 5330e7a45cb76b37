"""Limits set by a process of its own: what it refuses, and that caps hold whichever of the two is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_agent.device import DeviceError, GpuShape
from ingle_agent.setter.ask import ask
from ingle_agent.setter.guard import AHEAD_MAX_S, refusal
from ingle_agent.setter.wire import (
    LINE_BYTES_MAX,
    PING,
    Answer,
    Malformed,
    SetLimit,
    answer_line,
    answer_of,
    line_of,
    request_of,
)
from ingle_agent.setters import RemoteSetter
from ingle_lab.gpu import inject

ASK_S = 10.0


def later() -> float:
    return time.monotonic() + 5


# -- the protocol ----------------------------------------------------------------------------------------------


@given(
    st.from_regex(r"[A-Za-z0-9-]{1,96}", fullmatch=True),
    st.integers(1, 99_999),
    st.integers(1, 10**12).map(lambda milliseconds: milliseconds / 1000),
)
def test_a_limit_reads_as_it_was_written(uuid: str, watts: int, until_s: float) -> None:
    line = line_of(SetLimit(uuid, watts, until_s))
    assert len(line) <= LINE_BYTES_MAX
    read = request_of(line)
    assert read is not None
    assert (read.uuid, read.watts) == (uuid, watts)
    assert abs(read.until_s - until_s) <= 0.001


@given(st.binary(max_size=2 * LINE_BYTES_MAX) | st.from_regex(rb"set [^\n]*\n?"))
def test_whatever_comes_is_a_limit_a_ping_or_malformed(line: bytes) -> None:
    try:
        request = request_of(line)
    except Malformed:
        return
    assert (
        line == PING if request is None else line.startswith(f"set {request.uuid} {request.watts} ".encode())
    )


@given(st.booleans(), st.text(max_size=400))
def test_an_answer_is_one_line_whatever_it_says(denied: bool, text: str) -> None:
    line = answer_line(Answer(False, denied, text))
    assert (line.count(b"\n"), len(line) <= LINE_BYTES_MAX) == (1, True)
    read = answer_of(line)
    assert (read.done, read.denied) == (False, denied)


def shape(uuid: str, parent: str = "", max_w: int = 700) -> GpuShape:
    return GpuShape(uuid, 0, "H100", "0000:01:00.0", 0, (), 200, max_w, max_w, False, parent)


@pytest.mark.parametrize(
    ("uuid", "watts", "until_s", "why"),
    [
        ("GPU-1", 200, 11.0, ""),
        ("GPU-1", 700, 10.0, ""),
        ("GPU-1", 199, 11.0, "199 W is outside 200 to 700 W"),
        ("GPU-1", 701, 11.0, "701 W is outside 200 to 700 W"),
        ("GPU-9", 300, 11.0, "no GPU of this node"),
        ("MIG-1", 300, 11.0, "no power limit of its own"),
        ("GPU-2", 300, 11.0, "no power limit of its own"),
        ("GPU-1", 300, 9.9, "too long ago"),
        ("GPU-1", 300, 10.1 + AHEAD_MAX_S, "another clock"),
    ],
)
def test_limits_are_refused_that_cannot_be_meant(uuid: str, watts: int, until_s: float, why: str) -> None:
    shapes = [shape("GPU-1"), shape("MIG-1", parent="GPU-1"), shape("GPU-2", max_w=0)]
    said = refusal(SetLimit(uuid, watts, until_s), shapes, 10.0)
    assert why in said if why else said == ""


# -- the setter alone ------------------------------------------------------------------------------------------


async def answering(node: Any, until: Any) -> None:
    def answers() -> bool:
        try:
            return ask(node.socket, PING, ASK_S).done
        except OSError:
            return False

    await until(answers, "the setter answers", node.log)


def raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ASK_S)
        connection.connect(str(path))
        connection.sendall(data)
        return connection.recv(2 * LINE_BYTES_MAX)


def previous(node: Any) -> Any:
    return json.loads(node.journal.read_text())["previousWatts"]


async def test_the_setter_sets_what_is_in_range_remembers_what_was_and_refuses_the_rest(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start_setter()
    await answering(node, until)
    first, second = node.uuids[:2]
    assert node.socket.stat().st_mode & 0o777 == 0o660

    assert ask(node.socket, line_of(SetLimit(first, 300, later())), ASK_S) == Answer(True)
    assert ask(node.socket, line_of(SetLimit(first, 300, later())), ASK_S) == Answer(True)
    assert (node.limits()[0], previous(node)) == (300, {first: 700})

    over = b"x" * (4 * LINE_BYTES_MAX)
    for wrong in (f"set {second} 100 {int(later() * 1000)}\n".encode(), b"set all 300\n", b"reset\n", over):
        assert raw(node.socket, wrong).startswith(b"failed ")
    inject(node.state, 1, "NoPermission")
    assert ask(node.socket, line_of(SetLimit(second, 300, later())), ASK_S).denied
    assert node.limits()[:2] == [300, 700]

    node.kill_setter()
    inject(node.state, 0, "GpuIsLost")
    node.start_setter()
    await answering(node, until)
    assert not ask(node.socket, line_of(SetLimit(first, 700, later())), ASK_S).done
    inject(node.state, 0, clear=True)
    assert ask(node.socket, line_of(SetLimit(first, 700, later())), ASK_S) == Answer(True)
    assert (node.limits()[0], previous(node)) == (700, {})


async def test_after_a_missing_answer_nothing_is_asked_until_the_setter_is_heard_again(
    make_node: Any, until: Any
) -> None:
    """What was asked too long ago is not done late."""
    node = make_node()
    node.start_setter()
    await answering(node, until)
    setter = RemoteSetter(node.socket, begin_s=0.05, answer_s=0.2)
    setter.settle()
    node.setter.send_signal(signal.SIGSTOP)
    with pytest.raises(DeviceError, match="does not answer"):
        setter.set_limit(node.uuids[0], 300)
    setter.settle()
    node.setter.send_signal(signal.SIGCONT)
    with pytest.raises(DeviceError, match="does not answer"):
        setter.set_limit(node.uuids[0], 400)

    patient = RemoteSetter(node.socket)

    def sets() -> bool:
        patient.settle()
        try:
            patient.set_limit(node.uuids[1], 500)
        except DeviceError:
            return False
        return True

    await until(sets, "it is heard again", node.log)
    assert node.limits()[:2] == [700, 500]


# -- reader and setter -----------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(node: Any) -> AsyncIterator[list[list[int]]]:
    """Limits all the while. Two equal scans in a row are one moment; GPUs are read one after the other."""
    seen: list[list[int]] = []

    async def sample() -> None:
        while True:
            first, second = node.limits(), node.limits()
            if first == second and seen[-1:] != [second]:
                seen.append(second)
            await asyncio.sleep(0)

    sampling = asyncio.create_task(sample())
    try:
        yield seen
    finally:
        sampling.cancel()


HIGH = ("a", 1000, 700), ("b", 1000, 700)


async def test_a_setter_killed_in_the_middle_costs_no_watt_above_the_allotment_and_is_asked_again(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start_setter()
    node.start(INGLE_RETRY_SECONDS="0.2")
    await node.create(revision=1, allotted=2600, claims={0: [HIGH[0]], 1: [HIGH[1]]})
    await node.observed(1)
    assert node.limits()[:3] == [700, 700, 200]
    async with watched(node) as seen:
        node.setter.send_signal(signal.SIGSTOP)
        await node.change(revision=2, allotted=2600, claims={6: [HIGH[0]], 7: [HIGH[1]]})

        async def asking() -> bool:
            text = await node.text("/metrics")
            line = next(line for line in text.splitlines() if line.startswith("ingle_agent_reading_age"))
            return float(line.split()[1]) > 0.6

        await until(asking, "the reader waits for its setter", node.log)
        node.kill_setter()

        async def told() -> bool:
            conditions = (await node.status())["conditions"]
            return any("does not answer" in c.get("message", "") for c in conditions)

        await until(told, "the node says that limits cannot be set", node.log)
        assert node.limits() == [700, 700, *[200] * 6]
        node.start_setter()
        await until(lambda: node.limits() == [*[200] * 6, 700, 700], "limits follow", node.log)
    assert max(sum(limits) for limits in seen) <= 2600


async def test_a_killed_reader_changes_no_limit_and_the_next_one_goes_on_and_gives_limits_back(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.start_setter()
    node.start()
    await node.create(revision=1, allotted=2000)
    await node.observed(1)
    node.end(signal.SIGKILL)
    assert node.limits() == [200] * 8
    await node.change(revision=2, allotted=None)
    node.start()
    await node.observed(2)
    assert node.limits() == [700] * 8
    await until(lambda: previous(node) == {}, "nothing is left to give back", node.log)


async def test_a_reader_without_a_setter_says_so_reads_on_and_sets_nothing(
    make_node: Any, until: Any
) -> None:
    node = make_node()
    node.socket.parent.mkdir()
    node.start(INGLE_SETTER_SOCKET=str(node.socket), INGLE_SILENT_SECONDS="0.1")
    await node.create(revision=1, allotted=2600, safe=1800)

    async def told() -> bool:
        conditions = (await node.status()).get("conditions") or ()
        return any(c["reason"] == "LimitsNotSet" and "does not answer" in c["message"] for c in conditions)

    await until(told, "the node says that limits cannot be set", node.log)
    assert node.limits() == [700] * 8
    node.start_setter()
    await until(lambda: sum(node.limits()) <= 1800, "safe caps once there is a setter", node.log)
