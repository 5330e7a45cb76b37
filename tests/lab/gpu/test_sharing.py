"""Several processes on one node's GPUs, some of them killed."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingle_lab.gpu import OutOfMemory, Slot, StateError, read_gpus, read_total_used

GIB = 1 << 30


def test_memory_of_two_processes_adds_up_and_each_is_listed(nvml, start, state, uuids):
    one, two = start("holder", *uuids[:2]), start("holder", uuids[1])
    assert one.ask("hold", 10 * GIB) == "ok"
    assert two.ask("hold", 5 * GIB) == "ok"
    assert [nvml.used(index) for index in range(3)] == [10 * GIB, 15 * GIB, 0]
    listed = nvml("nvmlDeviceGetComputeRunningProcesses", {"gpu": 1})
    assert {(entry["pid"], entry["usedGpuMemory"]) for entry in listed} == {
        (one.process.pid, 10 * GIB),
        (two.process.pid, 5 * GIB),
    }
    assert nvml("nvmlDeviceGetComputeRunningProcesses", {"gpu": 5}) == []
    assert read_total_used(state)[uuids[1]] == 15 * GIB


def test_a_killed_process_gives_its_memory_and_watts_back_even_as_a_zombie(nvml, start, uuids, eventually):
    holder = start("holder", uuids[0])
    holder.ask("hold", 40 * GIB)
    holder.ask("draw", 300)
    assert nvml.used(0) == 40 * GIB
    holder.kill()
    eventually(lambda: nvml.used(0) == 0)
    assert holder.process.returncode is None, "nobody has reaped it yet"
    eventually(lambda: nvml.field(0, 186) < 95_500)
    assert nvml("nvmlDeviceGetComputeRunningProcesses", {"gpu": 0}) == []


def test_a_stopped_process_keeps_what_it_holds(nvml, start, uuids):
    holder = start("holder", uuids[0])
    holder.ask("hold", 40 * GIB)
    holder.process.send_signal(signal.SIGSTOP)
    assert nvml.used(0) == 40 * GIB
    holder.process.send_signal(signal.SIGCONT)
    assert holder.ask("hold", 0) == "ok"


def test_too_much_is_refused_with_the_bytes_and_changes_nothing(state, uuids):
    with Slot(state, uuids[:2]) as one, Slot(state, uuids[1:3]) as two:
        one.hold(50 * GIB)
        two.hold(20 * GIB)
        with pytest.raises(OutOfMemory, match=f"{uuids[1]}: {30 * GIB} bytes wanted, {29 * GIB} free"):
            two.hold(30 * GIB)
        assert list(read_total_used(state).values())[:3] == [50 * GIB, 70 * GIB, 20 * GIB]
        two.hold(29 * GIB)
        with pytest.raises(OutOfMemory):
            two.hold(29 * GIB + 1)
        two.hold(0)
    assert set(read_total_used(state).values()) == {0}


def test_a_closed_slot_and_a_forked_child_cannot_use_it(state, uuids):
    slot = Slot(state, uuids[:1])
    slot.hold(GIB)
    child = os.fork()
    if child == 0:
        try:
            slot.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert read_total_used(state)[uuids[0]] == GIB
    slot.close()
    slot.close()
    assert read_total_used(state)[uuids[0]] == 0
    with pytest.raises(StateError, match="closed"):
        slot.hold(1)


def test_unknown_gpus_bad_files_and_full_tables_are_named(state, uuids, tmp_path):
    with pytest.raises(ValueError, match=r"no such GPU .*: GPU-0"):
        Slot(state, ["GPU-0"])
    with pytest.raises(StateError, match="cannot be opened"):
        Slot(tmp_path / "none", uuids)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StateError, match="is not a GPU state file"):
        Slot(tmp_path / "text", uuids)
    slots = [Slot(state, uuids[:1]) for _ in range(256)]
    with pytest.raises(StateError, match="all slots are taken"):
        Slot(state, uuids[:1])
    slots[17].close()
    Slot(state, uuids[:1]).close()
    for slot in slots:
        slot.close()


def test_of_racers_for_the_last_bytes_only_one_wins_and_nobody_sees_too_much(start, state, uuids):
    racers = [start("holder", *uuids[:4]) for _ in range(4)]
    won = 0
    with ThreadPoolExecutor(len(racers)) as pool:
        for _ in range(25):
            answers = [pool.submit(racer.ask, "hold", 45 * GIB) for racer in racers]
            while not all(answer.done() for answer in answers):
                assert max(read_total_used(state).values()) <= 79 * GIB
            winners = [answer.result() for answer in answers].count("ok")
            assert winners <= 1
            won += winners
            for racer in racers:
                assert racer.ask("hold", 0) == "ok"
    assert won > 12, "a race that nobody wins must stay rare"


STORM = """
import random, sys
from ingle_lab.gpu import OutOfMemory, Slot
luck = random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    with Slot(sys.argv[1], luck.sample(sys.argv[3:], 2)) as slot:
        for _ in range(luck.randrange(1, 20)):
            try:
                slot.hold(luck.randrange(60) << 30)
            except OutOfMemory:
                pass
            slot.draw(luck.randrange(300))
"""


def test_a_storm_of_kills_never_oversells_a_gpu_or_leaves_anything(nvml, state, uuids, eventually):
    luck, running, kills = random.Random(7), [], 0
    end = time.monotonic() + 4

    def spawn(seed: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", STORM, str(state), str(seed), *uuids[:3]],
            stdout=subprocess.PIPE,
            text=True,
        )

    last_mj = 0
    while time.monotonic() < end:
        while len(running) < 4:
            running.append(spawn(luck.randrange(1 << 30)))
        assert max(read_total_used(state).values()) <= 79 * GIB
        mj = nvml("nvmlDeviceGetTotalEnergyConsumption", {"gpu": 0})
        assert mj >= last_mj
        last_mj = mj
        if luck.random() < 0.02:
            victim = running.pop(luck.randrange(len(running)))
            victim.kill()
            victim.communicate()
            kills += 1
    for process in running:
        process.kill()
        process.communicate()
    assert kills > 3
    assert set(read_total_used(state).values()) == {0}
    eventually(lambda: all(gpu.draw_w < 95.1 for gpu in read_gpus(state)))


def test_a_hundred_killed_holders_leave_the_gpu_empty(state, uuids):
    """Forked, not started anew, so that a hundred cost little; each is killed at another moment."""
    for turn in range(120):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    with Slot(state, uuids[:1]) as slot:
                        slot.hold((turn % 70 + 1) << 30)
                        slot.draw(turn)
            finally:
                os._exit(1)
        for _ in range(turn % 7):
            assert read_total_used(state)[uuids[0]] in (0, (turn % 70 + 1) << 30)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert read_total_used(state)[uuids[0]] == 0
    with Slot(state, uuids[:1]) as slot:
        slot.hold(79 << 30)
