"""What the real pynvml reads from the stand-in."""

import re
from pathlib import Path

import pytest

from ingle_lab.gpu import create_state, gpu_uuid, load_profile, profile_names

GIB = 1 << 30


def error_of(call, *arguments):
    with pytest.raises(Exception, match="NVMLError_") as caught:
        call(*arguments)
    return str(caught.value).removeprefix("NVMLError_")


def test_a_gpu_is_found_by_index_uuid_and_both_forms_of_its_bus_id(nvml, uuids):
    assert nvml("nvmlDeviceGetCount") == 8
    for index, uuid in enumerate(uuids):
        assert nvml("nvmlDeviceGetUUID", {"gpu": index}) == uuid
        assert nvml("nvmlDeviceGetHandleByUUID", uuid) == index
        bus_id = nvml("nvmlDeviceGetPciInfo", {"gpu": index})["busId"]
        assert nvml("nvmlDeviceGetHandleByPciBusId", bus_id) == index
        assert nvml("nvmlDeviceGetHandleByPciBusId", bus_id[4:].lower()) == index
    assert error_of(nvml, "nvmlDeviceGetHandleByIndex", 8) == "InvalidArgument"
    assert error_of(nvml, "nvmlDeviceGetHandleByUUID", "GPU-0") == "NotFound"


def test_identity_is_that_of_the_profile(nvml):
    assert nvml("nvmlDeviceGetName", {"gpu": 0}) == "NVIDIA H100 80GB HBM3"
    assert nvml("nvmlSystemGetDriverVersion") == load_profile("h100x8").driver_version
    pci = nvml("nvmlDeviceGetPciInfo", {"gpu": 4})
    assert (pci["busId"], pci["bus"], pci["pciDeviceId"]) == ("00000000:9D:00.0", 0x9D, 0x233010DE)
    assert nvml("nvmlDeviceGetPersistenceMode", {"gpu": 0}) == 1
    assert nvml("nvmlErrorString", 15) == "GPU is lost"


def test_memory_v1_counts_the_reserve_as_used_and_v2_does_not(nvml):
    old = nvml("nvmlDeviceGetMemoryInfo", {"gpu": 0})
    new = nvml("nvmlDeviceGetMemoryInfo", {"gpu": 0}, 0x02000028)
    assert (old["total"], old["used"], old["free"]) == (80 * GIB, 1 * GIB, 79 * GIB)
    assert (new["total"], new["reserved"], new["used"], new["free"]) == (80 * GIB, GIB, 0, 79 * GIB)
    assert error_of(nvml, "nvmlDeviceGetMemoryInfo", {"gpu": 0}, 0x03000028) == "ArgumentVersionMismatch"


def test_what_is_absent_says_not_supported_or_function_not_found(nvml):
    assert error_of(nvml, "nvmlDeviceGetMigMode", {"gpu": 0}) == "NotSupported"
    assert error_of(nvml, "nvmlDeviceGetNumaNodeId", {"gpu": 0}) == "NotSupported"
    assert error_of(nvml, "nvmlDeviceGetFanSpeed", {"gpu": 0}) == "FunctionNotFound"
    assert error_of(nvml, "nvmlDeviceGetVbiosVersion", {"gpu": 0}) == "FunctionNotFound"
    [known, unknown] = nvml("nvmlDeviceGetFieldValues", {"gpu": 0}, [186, 240])
    assert (known["return"], unknown["return"]) == (0, 3)


def test_calls_before_start_and_after_stop_are_refused(start):
    nvml = start("nvml", start=False)
    assert error_of(nvml, "nvmlDeviceGetCount") == "Uninitialized"
    nvml("nvmlInit")
    nvml("nvmlInit")
    nvml("nvmlDeviceGetName", {"gpu": 0})
    nvml("nvmlShutdown")
    assert nvml("nvmlDeviceGetCount") == 8
    nvml("nvmlShutdown")
    assert error_of(nvml, "nvmlDeviceGetName", {"gpu": 0}) == "Uninitialized"
    assert error_of(nvml, "nvmlShutdown") == "Uninitialized"


def test_a_missing_or_foreign_state_file_is_a_driver_that_is_not_loaded(start, tmp_path):
    assert error_of(start("nvml", path=tmp_path / "none", start=False), "nvmlInit") == "DriverNotLoaded"
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"x" * 100)
    assert error_of(start("nvml", path=foreign, start=False), "nvmlInit") == "DriverNotLoaded"


def test_a_new_state_file_is_seen_after_the_next_start(nvml, state):
    nvml("nvmlDeviceSetPowerManagementLimit", {"gpu": 0}, 300_000)
    create_state(state, "h100x8")
    assert nvml("nvmlDeviceGetPowerManagementLimit", {"gpu": 0}) == 300_000
    nvml("nvmlShutdown")
    nvml("nvmlInit")
    assert nvml("nvmlDeviceGetPowerManagementLimit", {"gpu": 0}) == 700_000


def test_uuids_are_the_same_each_time_and_differ_between_nodes(tmp_path):
    first = create_state(tmp_path / "a" / "gpus.state", "dgx-a100")
    assert create_state(tmp_path / "a" / "gpus.state", "dgx-a100") == first
    other = create_state(tmp_path / "b" / "gpus.state", "dgx-a100")
    assert len({*first, *other}) == 16
    assert create_state(tmp_path / "c", "dgx-a100", node="a") == first
    assert first[3] == gpu_uuid("a", 3)
    assert all(re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) for uuid in first)


def bits(words: list[int]) -> tuple[int, ...]:
    return tuple(n for n in range(64 * len(words)) if words[n // 64] >> n % 64 & 1)


@pytest.mark.parametrize("name", profile_names())
def test_numa_and_topology_are_those_of_the_profile(start, tmp_path: Path, name: str):
    profile = load_profile(name)
    path = tmp_path / "n" / "gpus.state"
    create_state(path, profile)
    nvml = start("nvml", path=path)
    for index, gpu in enumerate(profile.gpus):
        assert bits(nvml("nvmlDeviceGetMemoryAffinity", {"gpu": index}, 1, 0)) == (gpu.zone,)
        assert bits(nvml("nvmlDeviceGetCpuAffinity", {"gpu": index}, 16)) == profile.zones[gpu.zone].cpus
        for other in range(len(profile.gpus)):
            level = nvml("nvmlDeviceGetTopologyCommonAncestor", {"gpu": index}, {"gpu": other})
            assert level == profile.ancestors[index][other]


def links_of(nvml, index: int) -> list[tuple[int, str]]:
    """Kind and address of the far end of each link; the first that is absent must say NotSupported."""
    found = []
    for link in range(36):
        try:
            assert nvml("nvmlDeviceGetNvLinkState", {"gpu": index}, link) == 1
        except Exception:
            assert error_of(nvml, "nvmlDeviceGetNvLinkState", {"gpu": index}, link) == "NotSupported"
            return found
        kind = nvml("nvmlDeviceGetNvLinkRemoteDeviceType", {"gpu": index}, link)
        found.append((kind, nvml("nvmlDeviceGetNvLinkRemotePciInfo", {"gpu": index}, link)["busId"]))
    return found


def test_eighteen_links_of_an_h100_end_in_four_switches(nvml):
    links = links_of(nvml, 0)
    assert len(links) == 18
    assert {kind for kind, _ in links} == {2}
    assert len({bus for _, bus in links}) == 4
    assert nvml("nvmlDeviceGetP2PStatus", {"gpu": 0}, {"gpu": 7}, 2) == 0
    assert error_of(nvml, "nvmlDeviceGetNvLinkState", {"gpu": 0}, 36) == "InvalidArgument"


def test_links_in_pairs_end_in_the_partner(start, tmp_path):
    path = tmp_path / "n" / "gpus.state"
    create_state(path, "nv3-pairs-4gpu")
    nvml = start("nvml", path=path)
    for index, partner in ((0, 1), (1, 0), (2, 3), (3, 2)):
        bus = nvml("nvmlDeviceGetPciInfo", {"gpu": partner})["busId"]
        assert links_of(nvml, index) == [(0, bus)] * 3
    assert nvml("nvmlDeviceGetP2PStatus", {"gpu": 0}, {"gpu": 1}, 2) == 0
    assert nvml("nvmlDeviceGetP2PStatus", {"gpu": 0}, {"gpu": 2}, 2) == 5
    assert nvml("nvmlDeviceGetP2PStatus", {"gpu": 0}, {"gpu": 2}, 0) == 3


def test_cards_without_nvlink_have_no_link(start, tmp_path):
    path = tmp_path / "n" / "gpus.state"
    create_state(path, "pcie8-uneven")
    assert links_of(start("nvml", path=path), 0) == []
