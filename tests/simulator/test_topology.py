"""Link matrices of real machines become facts that placement reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingle_simulator.topology import node_of, read_folder, read_matrix

MATRIX = """# two pairs, the second before the first in zones
\tGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tCPU Affinity\tNUMA Affinity
GPU0\tX\tNV3\tSYS\tSYS\tPIX\t0-7\t1,3-9
GPU1\tNV3\tX\tSYS\tSYS\tPIX\t0-7\t1,3-9
GPU2\tSYS\tSYS\tX\tPHB\tSYS\t8-15\t0
GPU3\tSYS\tSYS\tPHB\tX\tSYS\t8-15\t0
NIC0\tPIX\tPIX\tSYS\tSYS\tX
"""


def test_a_matrix_gives_zones_levels_and_links() -> None:
    topology = read_matrix("made", MATRIX)
    assert topology.zones == (1, 1, 0, 0)
    assert topology.levels[0] == ("X", "NV3", "SYS", "SYS")
    assert [topology.linked(0, 1), topology.linked(2, 3)] == [True, False]


def test_without_numa_affinity_equal_cpus_are_one_zone() -> None:
    text = "\n".join(line.rpartition("\t")[0] for line in MATRIX.splitlines() if not line.startswith("NIC"))
    assert read_matrix("made", text).zones == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no matrix"),
        (MATRIX.replace("PHB", "??"), r"row GPU2: \?\?"),
        (MATRIX.replace("\t8-15\t0", ""), "row GPU2: a column is missing"),
        ("\n".join(MATRIX.splitlines()[:4]), "2 rows of GPUs but 4 columns"),
    ],
)
def test_a_matrix_that_cannot_be_read_says_where(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_matrix("made", text)


def test_only_free_gpus_have_room_and_near_ones_have_near_buses() -> None:
    facts = node_of(read_matrix("made", MATRIX), {1, 2})
    assert [gpu.headroom_mib > 0 for gpu in facts.gpus] == [False, True, True, False]
    assert facts.gpus[0].nvlink_peers == ("GPU-made-1",)
    assert [gpu.pcie for gpu in facts.gpus] == [
        f"0000000{d}:{b:02x}:00.0" for d, b in ((0, 1), (0, 33), (1, 33), (1, 41))
    ]


def test_a_folder_whose_two_tables_disagree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_folder(tmp_path)
    (tmp_path / "nvidia-smi-topo").mkdir()
    (tmp_path / "nvidia-smi-topo" / "made.tsv").write_text(MATRIX)
    table = tmp_path / "gpu_numa_map.csv"
    table.write_text('node,gpu,numa\nmade,GPU0,"1,3-9"\nmade,GPU2,\nother,GPU0,7\n')
    assert [topology.name for topology in read_folder(tmp_path)] == ["made"]
    table.write_text("node,gpu,numa\nmade,GPU3,1\n")
    with pytest.raises(ValueError, match="GPU3 is on 1"):
        read_folder(tmp_path)


DATA = Path(os.environ.get("INGLE_DATA", "../shared/data")) / "gpu-topology"


@pytest.mark.skipif(not DATA.is_dir(), reason="INGLE_DATA has no gpu-topology")
def test_the_public_machines_are_read() -> None:
    zones = {topology.name: topology.zones for topology in read_folder(DATA)}
    assert zones["dgx-a100"] == (3, 3, 1, 1, 7, 7, 5, 5)
    assert zones["pcie8-uneven-numa"] == (0,) * 6 + (1,) * 2
    assert zones["gb200-4gpu"] == (0, 0, 1, 1)
    assert zones["nv3-pairs-4gpu"] == (0, 0, 1, 1)
