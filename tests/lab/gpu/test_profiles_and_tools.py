"""Profiles, the builder and the command."""

import ctypes
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle_lab.gpu import (
    BuildError,
    OutOfMemory,
    ProfileError,
    Slot,
    build_library,
    create_state,
    inject,
    load_profile,
    profile_names,
    read_gpus,
    read_total_used,
)
from ingle_lab.gpu.__main__ import main
from ingle_lab.gpu.layout import SIZES
from ingle_lab.gpu.profile import PROFILES, parse_cpus

MIB = 1 << 20


def test_every_profile_loads_and_names_its_source():
    assert profile_names() == ["dgx-a100", "h100x4-mig", "h100x8", "nv3-pairs-4gpu", "pcie8-uneven"]
    for name in profile_names():
        profile = load_profile(name)
        assert profile.name == name
        assert len(profile.source) > 40
        assert profile.cpu_count == len({cpu for zone in profile.zones for cpu in zone.cpus})
        assert profile.memory_bytes >= 512 << 30


def test_a_dgx_a100_has_its_gpus_on_zones_3_1_7_5_of_eight():
    profile = load_profile("dgx-a100")
    assert [gpu.zone for gpu in profile.gpus] == [3, 3, 1, 1, 7, 7, 5, 5]
    assert [zone.zone for zone in profile.zones] == list(range(8))
    assert (profile.kind.min_w, profile.kind.max_w) == (100, 400)


def test_cpu_lists_are_read_as_linux_writes_them():
    assert parse_cpus("0-2,7,9-10") == (0, 1, 2, 7, 9, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min: 200", "min: 900", "needs 0 < idle <= min <= default <= max"),
        ("zone: 1}", "zone: 5}", "names a zone that is not in zones"),
        ("0000:43:00.0", "0000:1B:00.0", "two have one PCI address"),
        ("memory_mhz: 1593", "", "field 'memory_mhz' is missing"),
        ("0-55,", "0-5x,", "invalid literal"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_field(tmp_path, old, new, message):
    path = tmp_path / "odd.yaml"
    path.write_text((PROFILES / "h100x8.yaml").read_text().replace(old, new))
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ProfileError, match="there are dgx-a100, h100x4-mig"):
        load_profile("b200")


def test_both_sides_agree_on_the_layout(library):
    layout = ctypes.CDLL(str(library)).ingle_lab_gpu_layout
    layout.restype = ctypes.c_uint64
    assert tuple(layout(index) for index in range(len(SIZES))) == SIZES


def test_the_library_is_built_once_and_then_found(tmp_path, monkeypatch):
    monkeypatch.setenv("INGLE_CACHE_DIR", str(tmp_path))
    library = build_library()
    assert library.name == "libnvidia-ml.so.1"
    assert [path.name for path in (tmp_path / "gpu").iterdir()] == [library.parent.name]
    monkeypatch.setenv("PATH", "/nowhere")
    assert build_library() == library


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("INGLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BuildError, match=r"put `cc` on PATH .* or run `pip install ziglang`"):
        build_library()


def test_a_failing_compiler_leaves_nothing_behind(tmp_path, monkeypatch):
    broken = tmp_path / "bin" / "cc"
    broken.parent.mkdir()
    broken.write_text(f"#!{shutil.which('sh')}\necho no such header >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("INGLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(BuildError, match="no such header"):
        build_library()
    assert list((tmp_path / "cache" / "gpu").iterdir()) == []


def test_the_command_creates_shows_and_breaks(tmp_path, capsys):
    path = str(tmp_path / "gpu-2" / "gpus.state")
    assert main(["create", path, "--profile", "dgx-a100"]) == 0
    uuids = capsys.readouterr().out.split()
    assert main(["inject", path, "3", "--error", "GpuIsLost", "--enforced-w", "90"]) == 0
    assert main(["show", path, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [gpu["uuid"] for gpu in shown] == uuids
    assert (shown[3]["read_error"], shown[3]["enforced_w"], shown[2]["read_error"]) == (15, 90, 0)
    assert main(["show", path]) == 0
    assert uuids[7] in capsys.readouterr().out
    assert main(["inject", path, "9", "--clear"]) == 1
    assert "has no GPU 9" in capsys.readouterr().err
    assert main(["show", path + "x"]) == 1
    assert "cannot be opened" in capsys.readouterr().err


def test_bad_injections_are_refused(state):
    with pytest.raises(ValueError, match="unknown error 'Fire'"):
        inject(state, 0, error="Fire")
    with pytest.raises(ValueError, match="not possible"):
        inject(state, 0, enforced_w=-1)


def test_a_slot_needs_no_compiler_where_the_library_is_on_the_path(library, state, uuids, tmp_path):
    code = (
        "import sys; from ingle_lab.gpu import Slot; Slot(sys.argv[1], sys.argv[2:]).close(); print('done')"
    )
    environment = {"LD_LIBRARY_PATH": str(library.parent), "INGLE_CACHE_DIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, str(state), uuids[0]],
        env=environment, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "done\n"
    assert list(tmp_path.glob("gpu/*")) == []


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["hold", "draw", "close"]), st.integers(0, 60_000)),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_whatever_slots_do_the_sum_is_theirs_and_fits(tmp_path: Path, steps):
    path = tmp_path / "n" / "gpus.state"
    uuids = create_state(path, "pcie8-uneven")
    room = (49152 - 512) * MIB
    slots: dict[int, tuple[Slot, list[int]]] = {}
    expected: dict[int, int] = dict.fromkeys(slots, 0)
    for number, action, amount in steps:
        if number not in slots:
            slots[number] = (Slot(path, [uuids[number % 3], uuids[2]]), sorted({number % 3, 2}))
            expected[number] = 0
        slot, gpus = slots[number]
        others = [
            sum(expected[n] for n, (_, held) in slots.items() if n != number and gpu in held) for gpu in gpus
        ]
        if action == "hold":
            fits = amount * MIB <= expected[number] or all(other + amount * MIB <= room for other in others)
            try:
                slot.hold(amount * MIB)
                assert fits
                expected[number] = amount * MIB
            except OutOfMemory:
                assert not fits
        elif action == "draw":
            slot.draw(amount / 100)
        else:
            slot.close()
            del slots[number], expected[number]
        used = read_total_used(path)
        for gpu in range(3):
            assert (
                used[uuids[gpu]] == sum(expected[n] for n, (_, held) in slots.items() if gpu in held) <= room
            )
        assert all(45 <= gpu.draw_w <= 350 for gpu in read_gpus(path))
    for slot, _ in slots.values():
        slot.close()
