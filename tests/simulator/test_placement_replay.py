"""The placement replay over a small made trace in the columns of the public one, and, where it is, over that one."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest

from ingle_simulator import openb
from ingle_simulator.arrivals import arrivals
from ingle_simulator.cluster import Choice, Cluster
from ingle_simulator.openb import TraceError, TraceNode, TracePod
from ingle_simulator.placement import POLICIES, mean_curve, replay

PUBLIC = Path(os.environ.get("INGLE_DATA", "../shared/data")) / "alibaba-openb-2023"
NODES = [
    TraceNode(f"n{i:02d}", 64000, (0, 2, 4, 8)[i % 4], "" if i % 4 == 0 else ("T4", "G2")[i % 2])
    for i in range(24)
]
SHAPES = [(4000, 1, 500), (2000, 1, 300), (8000, 1, 1000), (8000, 2, 1000), (32000, 8, 1000), (4000, 0, 0)]


def made_pods(count: int = 200) -> list[TracePod]:
    luck = random.Random(1)
    drawn = luck.choices(SHAPES, weights=(4, 4, 3, 2, 1, 2), k=count)
    return [TracePod(f"p{i:03d}", *shape, ("T4",) if i % 9 == 0 else ()) for i, shape in enumerate(drawn)]


def written(folder: Path) -> Path:
    """The made trace as files, its second list compressed and without the column gpu_spec."""
    (folder / "variants").mkdir(parents=True)
    nodes = [f"{n.name},{n.cpu_milli},1,{n.gpus},{n.product}" for n in NODES]
    (folder / openb.NODES).write_text("\n".join(["sn,cpu_milli,memory_mib,gpu,model", *nodes, ""]))
    pods = [f"{p.name},{p.cpu_milli},{p.gpus},{p.gpu_milli},{'|'.join(p.products)}" for p in made_pods()]
    head = "name,cpu_milli,num_gpu,gpu_milli"
    (folder / f"{openb.PODS}default.csv").write_text("\n".join([f"{head},gpu_spec", *pods, ""]))
    with gzip.open(folder / "variants" / f"{openb.PODS}plain.csv.gz", "wt") as file:
        file.write("\n".join([head, *(pod.rpartition(",")[0] for pod in pods), ""]))
    return folder


def test_the_lists_of_a_trace_are_read_plain_and_compressed(tmp_path: Path) -> None:
    folder = written(tmp_path / "openb")
    assert openb.lists(folder) == ["default", "plain"]
    assert openb.read_nodes(folder) == NODES
    assert openb.read_pods(folder) == made_pods()
    assert {pod.products for pod in openb.read_pods(folder, "plain")} == {()}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("p,many,1,500", "line 2, cpu_milli: must be a whole number of at least 0, not `many`"),
        ("p,1,-1,500", "line 2, num_gpu: must be a whole number"),
        ("p,1,1,1500", "line 2, gpu_milli: must be 1 to 1000, not 1500"),
        ("p,1,1", "line 2, gpu_milli: must be a whole number"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, cells: str, said: str) -> None:
    folder = written(tmp_path / "openb")
    (folder / f"{openb.PODS}default.csv").write_text(f"name,cpu_milli,num_gpu,gpu_milli\n{cells}\n")
    with pytest.raises(TraceError, match=said):
        openb.read_pods(folder)


def test_a_missing_file_list_or_column_and_a_broken_archive_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "openb")
    with pytest.raises(TraceError, match="there is no such file"):
        openb.read_nodes(tmp_path)
    with pytest.raises(TraceError, match="no list of pods `other`; there are: default, plain"):
        openb.read_pods(folder, "other")
    (folder / openb.NODES).write_text("sn,gpu\n")
    with pytest.raises(TraceError, match="line 1: no column cpu_milli, model"):
        openb.read_nodes(folder)
    (folder / "variants" / f"{openb.PODS}plain.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(TraceError, match="Not a gzipped file"):
        openb.read_pods(folder, "plain")


def test_arrivals_ask_for_the_target_and_not_more_and_depend_on_the_seed_alone() -> None:
    pods = made_pods()
    asked = sum(pod.total_milli for pod in pods)
    for target in (asked // 2, asked * 2):
        found = arrivals(pods, random.Random(3), target)
        assert target - 8000 <= sum(pod.total_milli for pod in found) <= target + 7000
        assert found == arrivals(pods, random.Random(3), target)
        assert found != arrivals(pods, random.Random(4), target)
    assert arrivals([pod for pod in pods if not pod.gpus], random.Random(3), 100) == []


def test_a_policy_cannot_take_what_is_not_there() -> None:
    cluster = Cluster([TraceNode("n", 4000, 1, "T4")])
    pod = TracePod("p", 3000, 1, 600)
    cluster.take(pod, Choice(0, (0,)))
    for wrong in (pod, TracePod("p", 0, 1, 600), TracePod("p", 0, 1, 100)):
        with pytest.raises(ValueError, match="does not fit on n"):
            cluster.take(wrong, Choice(0, () if wrong.gpu_milli == 100 else (0,)))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_replay_allocates_all_that_fits_until_it_is_full(policy: str) -> None:
    told: list[tuple[int, int]] = []
    curve = replay(policy, NODES, made_pods(), seed=1, progress=lambda *at: told.append(at))
    assert told[-1] == (curve.pods, curve.pods)
    gpus = sum(node.gpus for node in NODES)
    asked = sum(pod.total_milli for pod in arrivals(made_pods(), random.Random(1), 1300 * gpus))
    assert len(curve.allocated_percent) == max(130, -(-asked // (10 * gpus))) + 1
    assert list(curve.allocated_percent) == sorted(curve.allocated_percent)
    assert curve.allocated_percent[50] == pytest.approx(50, abs=9)
    assert 80 < curve.final_percent <= 100
    assert curve.refused > 0
    again = replay(policy, NODES, made_pods(), seed=1)
    assert again.allocated_percent == curve.allocated_percent


def test_a_cluster_without_gpus_is_refused() -> None:
    with pytest.raises(ValueError, match="none has a GPU"):
        replay("ingle", [TraceNode("n", 1000, 0, "")], made_pods(), seed=1)


def test_the_mean_of_curves_ends_with_the_mean_of_their_ends() -> None:
    curves = [replay("best-fit", NODES, made_pods(), seed=seed) for seed in (1, 2)]
    mean = mean_curve(curves)
    assert mean[-1] == pytest.approx(sum(curve.final_percent for curve in curves) / 2)
    assert mean[60] == pytest.approx(sum(curve.allocated_percent[60] for curve in curves) / 2)


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public trace is not here")
def test_on_a_part_of_the_public_trace_ours_packs_as_well_as_fgd_and_better_than_best_fit() -> None:
    nodes, pods = openb.read_nodes(PUBLIC)[::4], openb.read_pods(PUBLIC)[::4]
    final = {name: replay(name, nodes, pods, seed=42).final_percent for name in POLICIES}
    assert final["ingle"] >= final["fgd"] - 0.3
    assert final["ingle"] >= final["best-fit"] + 0.5
