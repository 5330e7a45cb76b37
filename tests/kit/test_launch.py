"""The launcher as it runs in an engine's image: a plain Python, one file, folders made here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingle_kit import launch
from ingle_lab.gpu import build_library, create_state

SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"
CPUS = sorted(os.sched_getaffinity(0))


class Image:
    """Folders of a machine with zone 0 and 3, the first CPU that this test may use on zone 3, and two GPUs there."""

    def __init__(self, root: Path) -> None:
        self.root, self.file = root, root / "launch.py"
        for zone, cpus in ((0, "9000-9003"), (3, f"{CPUS[0]},9004")):
            (root / "node" / f"node{zone}").mkdir(parents=True)
            (root / "node" / f"node{zone}" / "cpulist").write_text(cpus + "\n")
        for at, zone in enumerate((3, 3, 0, -1)):
            address = f"0000:0{at}:00.0"
            for folder in ("gpus", "pci"):
                (root / folder / address).mkdir(parents=True)
            (root / "gpus" / address / "information").write_text(f"Model: \t H100\nGPU UUID: \t GPU-{at}\n")
            (root / "pci" / address / "numa_node").write_text(f"{zone}\n")
        subprocess.run([sys.executable, "-m", "ingle_kit.launch", "--install", str(self.file)], check=True)

    def run(
        self, gpus: str, *command: str, nvml: str = "absent.so", **env: str
    ) -> subprocess.CompletedProcess[str]:
        roots = [f"--{name}-root={self.root / name}" for name in ("node", "gpus", "pci")]
        words = [sys.executable, "-I", str(self.file), *roots, f"--nvml={nvml}", "--", *command]
        return subprocess.run(
            words,
            env={**os.environ, "INGLE_GPUS": gpus, **env},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


def test_the_engine_runs_on_the_cpus_of_its_gpus_zone_that_it_may_use(image: Image) -> None:
    done = image.run("GPU-0,GPU-1", sys.executable, "-c", SHOW)
    assert done.stdout == f"[{CPUS[0]}]\n", done.stderr
    assert f"on zone 3, CPUs {CPUS[0]}" in done.stderr


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ("GPU-2", "zone 0 has none of the CPUs"),
        ("GPU-3", "zone of GPU-3 is not known"),
        ("GPU-unknown", "zone of GPU-unknown is not known"),
        ("", "INGLE_GPUS names no GPU"),
    ],
)
def test_where_it_cannot_help_it_says_so_and_starts_the_engine(image: Image, gpus: str, said: str) -> None:
    done = image.run(gpus, sys.executable, "-c", SHOW)
    assert said in done.stderr
    assert done.stdout == f"{CPUS}\n"


def test_gpus_of_two_zones_may_use_the_cpus_of_both(image: Image) -> None:
    done = image.run("GPU-0,GPU-2", sys.executable, "-c", SHOW)
    assert f"on zone 0, 3, CPUs {CPUS[0]}" in done.stderr
    assert done.stdout == f"[{CPUS[0]}]\n"


def test_the_drivers_library_is_asked_first(image: Image, tmp_path: Path) -> None:
    state = tmp_path / "gpus.state"
    uuids = create_state(state, "dgx-a100", "node")
    library = build_library()
    done = image.run(uuids[0], sys.executable, "-c", SHOW, nvml=str(library), INGLE_LAB_GPU_STATE=str(state))
    assert f"on zone 3, CPUs {CPUS[0]}" in done.stderr


def test_the_command_keeps_its_words_its_process_and_its_exit_code(image: Image) -> None:
    code = "import os, sys; print(sys.argv[1:]); sys.exit(7)"
    done = image.run("GPU-0", sys.executable, "-c", code, "--model", "a b", "--")
    assert (done.returncode, done.stdout) == (7, "['--model', 'a b', '--']\n")
    assert image.run("GPU-0", "no-such-command").returncode == 127
    assert image.run("GPU-0").returncode == 2


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5\n", {0, 1, 2, 5}), ("7", {7}), ("\n", set())])
def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(text: str, cpus: set[int]) -> None:
    assert launch.cpus_in(text) == cpus


def test_a_zone_past_the_first_word_of_the_mask_is_found() -> None:
    assert launch.lowest_zone([0, 0b100]) == 66
    assert launch.lowest_zone([0, 0]) is None
