"""Limits, clocks, watts and joules, read through the real pynvml."""

import time

import pytest

from ingle_lab.gpu import Slot, inject, read_gpus


def error_of(call, *arguments):
    with pytest.raises(Exception, match="NVMLError_") as caught:
        call(*arguments)
    return str(caught.value).removeprefix("NVMLError_")


GPU = {"gpu": 0}


def test_limits_start_at_the_default_and_all_fields_agree(nvml):
    assert nvml("nvmlDeviceGetPowerManagementLimitConstraints", GPU) == [200_000, 700_000]
    for call in ("PowerManagementLimit", "EnforcedPowerLimit", "PowerManagementDefaultLimit"):
        assert nvml(f"nvmlDeviceGet{call}", GPU) == 700_000
    assert [nvml.field(0, field) for field in (187, 188, 189, 190, 192)] == [200_000, *[700_000] * 4]


@pytest.mark.parametrize("mw", [199_999, 700_001, 0])
def test_a_limit_out_of_range_is_refused_and_changes_nothing(nvml, mw):
    assert error_of(nvml, "nvmlDeviceSetPowerManagementLimit", GPU, mw) == "InvalidArgument"
    assert nvml("nvmlDeviceGetPowerManagementLimit", GPU) == 700_000


@pytest.mark.parametrize("mw", [200_000, 350_500, 700_000])
def test_a_limit_within_the_range_is_enforced_for_every_process(nvml, start, mw):
    nvml("nvmlDeviceSetPowerManagementLimit", GPU, mw)
    other = start("nvml")
    assert other("nvmlDeviceGetEnforcedPowerLimit", GPU) == mw
    assert other("nvmlDeviceGetEnforcedPowerLimit", {"gpu": 1}) == 700_000


def test_an_out_of_band_limit_shows_in_the_enforced_one_only(nvml, state):
    inject(state, 0, enforced_w=150)
    assert nvml("nvmlDeviceGetPowerManagementLimit", GPU) == 700_000
    assert nvml("nvmlDeviceGetEnforcedPowerLimit", GPU) == nvml.field(0, 190) == 150_000
    assert nvml.field(0, 192) == 700_000
    inject(state, 0, clear=True)
    assert nvml("nvmlDeviceGetEnforcedPowerLimit", GPU) == 700_000


def test_no_permission_hits_setters_and_leaves_readers(nvml, state):
    inject(state, 0, error="NoPermission")
    for call in (
        ("nvmlDeviceSetPowerManagementLimit", GPU, 300_000),
        ("nvmlDeviceSetGpuLockedClocks", GPU, 345, 1035),
        ("nvmlDeviceResetGpuLockedClocks", GPU),
        ("nvmlDeviceSetPersistenceMode", GPU, 0),
    ):
        assert error_of(nvml, *call) == "NoPermission"
    assert nvml("nvmlDeviceGetPowerManagementLimit", GPU) == 700_000
    nvml("nvmlDeviceSetPowerManagementLimit", {"gpu": 1}, 300_000)


def test_a_lost_gpu_refuses_every_call_until_it_is_cleared(nvml, state):
    nvml("nvmlDeviceGetName", GPU)
    inject(state, 0, error="GpuIsLost")
    for call in ("Name", "PowerUsage", "MemoryInfo", "UUID", "EnforcedPowerLimit", "ComputeRunningProcesses"):
        assert error_of(nvml, f"nvmlDeviceGet{call}", GPU) == "GpuIsLost"
    assert error_of(nvml, "nvmlDeviceGetHandleByIndex", 0) == "GpuIsLost"
    assert error_of(nvml, "nvmlDeviceGetTopologyCommonAncestor", {"gpu": 1}, GPU) == "GpuIsLost"
    assert nvml("nvmlDeviceGetCount") == 8
    assert nvml("nvmlDeviceGetIndex", {"gpu": 1}) == 1
    inject(state, 0, clear=True)
    assert nvml("nvmlDeviceGetIndex", GPU) == 0


def test_an_idle_gpu_says_so(nvml):
    assert nvml.field(0, 186) == nvml("nvmlDeviceGetPowerUsage", GPU) == 95_000
    assert nvml("nvmlDeviceGetCurrentClocksEventReasons", GPU) == 1
    assert nvml("nvmlDeviceGetCurrentClocksThrottleReasons", GPU) == 1
    assert nvml("nvmlDeviceGetClockInfo", GPU, 1) == 345
    assert nvml("nvmlDeviceGetClockInfo", GPU, 2) == 1593
    assert nvml("nvmlDeviceGetUtilizationRates", GPU) == {"gpu": 0, "memory": 0}
    assert nvml("nvmlDeviceGetTemperature", GPU, 0) == nvml("nvmlDeviceGetTemperatureV", GPU, 0) == 34


def test_watts_of_all_processes_add_up(nvml, state, uuids, eventually):
    with Slot(state, uuids[:2]) as one, Slot(state, uuids[:1]) as two:
        one.draw(100)
        two.draw(205)
        eventually(lambda: nvml.field(0, 186) >= 399_900)
        assert nvml.field(0, 186) <= 400_000
        eventually(lambda: 194_900 <= nvml.field(1, 186) <= 195_000)
        assert nvml("nvmlDeviceGetUtilizationRates", GPU)["gpu"] == 50
        assert nvml("nvmlDeviceGetCurrentClocksEventReasons", GPU) == 0
        assert nvml("nvmlDeviceGetClockInfo", GPU, 1) == 1980
    eventually(lambda: nvml.field(0, 186) < 95_100)


def test_the_draw_follows_with_the_lag_and_never_jumps(state, uuids):
    with Slot(state, uuids[:1]) as slot:
        before = time.monotonic()
        slot.draw(500)
        after = time.monotonic()
        for _ in range(200):
            earliest = time.monotonic() - after
            draw_w = read_gpus(state)[0].draw_w
            latest = time.monotonic() - before
            low, high = (95 + 500 * (1 - 2.718281828 ** (-t / 0.1)) for t in (earliest, latest))
            assert low - 0.01 <= draw_w <= high + 0.01
            time.sleep(0.001)


def test_the_power_reading_is_the_mean_of_the_last_second(state, uuids, eventually):
    with Slot(state, uuids[:1]) as slot:
        start = time.monotonic()
        slot.draw(400)
        eventually(lambda: read_gpus(state)[0].draw_w > 490)
        early = read_gpus(state)[0]
        if time.monotonic() - start < 0.7:
            assert early.average_w < early.draw_w - 30
        eventually(lambda: read_gpus(state)[0].average_w > 494.5)
        assert time.monotonic() - start > 0.9


def test_a_limit_that_binds_clips_the_draw_and_slows_the_clock(nvml, state, uuids, eventually):
    with Slot(state, uuids[:1]) as slot:
        slot.draw(605)
        eventually(lambda: nvml.field(0, 186) > 699_900)
        nvml("nvmlDeviceSetPowerManagementLimit", GPU, 300_000)
        assert nvml("nvmlDeviceGetCurrentClocksEventReasons", GPU) == 4
        eventually(lambda: nvml.field(0, 186) <= 300_100)
        assert nvml("nvmlDeviceGetClockInfo", GPU, 1) == round(1980 * 205 / 605)
        eventually(lambda: nvml("nvmlDeviceGetPowerUsage", GPU) <= 300_500)


def test_locked_clocks_bound_the_clock_and_the_watts_until_reset(nvml, state, uuids, eventually):
    memory_clock = nvml("nvmlDeviceGetSupportedMemoryClocks", GPU)
    clocks = nvml("nvmlDeviceGetSupportedGraphicsClocks", GPU, *memory_clock)
    assert (memory_clock, clocks[0], clocks[-1]) == ([1593], 1980, 345)
    with Slot(state, uuids[:1]) as slot:
        slot.draw(400)
        nvml("nvmlDeviceSetGpuLockedClocks", GPU, 345, 990)
        assert nvml("nvmlDeviceGetClockInfo", GPU, 1) == 990
        eventually(lambda: 294_900 < nvml.field(0, 186) < 295_100)
        assert error_of(nvml, "nvmlDeviceSetGpuLockedClocks", GPU, 990, 345) == "InvalidArgument"
        assert error_of(nvml, "nvmlDeviceSetGpuLockedClocks", GPU, 990, 0xFFFFFF01) == "InvalidArgument"
        nvml("nvmlDeviceResetGpuLockedClocks", GPU)
        assert nvml("nvmlDeviceGetClockInfo", GPU, 1) == 1980


def test_joules_are_the_integral_of_watts(state, uuids, eventually):
    with Slot(state, uuids[:1]) as slot:
        slot.draw(405)
        eventually(lambda: read_gpus(state)[0].draw_w > 499.9)
        earliest, first, latest = time.monotonic(), read_gpus(state)[0].energy_j, time.monotonic()
        eventually(lambda: time.monotonic() > latest + 0.5)
        begun, last, ended = time.monotonic(), read_gpus(state)[0].energy_j, time.monotonic()
        assert 499.8 * (begun - latest) - 0.01 <= last - first <= 500 * (ended - earliest) + 0.01


def test_joules_never_fall_whoever_reads(start, state, uuids):
    readers = [start("nvml") for _ in range(3)]
    last = 0
    with Slot(state, uuids[:1]) as slot:
        for turn in range(300):
            slot.draw(600 * (turn % 2))
            joules = readers[turn % 3]("nvmlDeviceGetTotalEnergyConsumption", GPU)
            assert joules >= last
            assert readers[(turn + 1) % 3].field(0, 83) >= joules
            last = joules
