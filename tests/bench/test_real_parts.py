"""Pure parts of the benchmark on a real control plane: the slice of a trace, its replays, and nodes with warm models."""

from __future__ import annotations

import json
import math
import random

import pytest
from bench.real import warmth
from bench.real.audit import oversold
from bench.real.beside import (
    Beside,
    Slice,
    allocated_percent,
    ask_body,
    compared,
    device_pod,
    mix_of_pools,
    our_pod,
    plain,
    pools,
    shape,
    slice_of,
)
from bench.real.objects import Shape, gpu_node, gpu_node_status, kube_node, shapes
from bench.real.unclaimed import InMemory

from ingle_core.facts import Columns, GpuNode, node_facts
from ingle_core.ledger import Ledger, PodRef, claim
from ingle_core.placement import Context, ask_from_annotation, rank
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.mix import AskClass, mix_of
from ingle_extender.nodes import Nodes, Seen
from ingle_kit.ledger import Written
from ingle_kit.names import ANNOTATION_PLACEMENT
from ingle_kit.objects import GPUNodeSpec, GPUNodeStatus, InferencePoolSpec
from ingle_kit.whatif import Question
from ingle_simulator.openb import TraceNode, TracePod
from ingle_simulator.placement import replay

SEED = 3
NODES = [
    TraceNode(f"n{i:02d}", (8000, 64000)[i % 2], (0, 2, 4, 8)[i % 4], ("T4", "G2")[i % 2]) for i in range(24)
]
SHAPES = [(4000, 1, 500), (2000, 1, 300), (8000, 1, 1000), (8000, 2, 1000), (32000, 8, 1000), (4000, 0, 0)]


def made_pods(count: int = 200) -> list[TracePod]:
    drawn = random.Random(1).choices(SHAPES, weights=(4, 4, 3, 2, 1, 2), k=count)
    return [TracePod(f"p{i:03d}", *one, ("T4",) if i % 9 == 0 else ()) for i, one in enumerate(drawn)]


@pytest.fixture(scope="module")
def part() -> Slice:
    return slice_of(NODES, made_pods(), 2, SEED)


def test_a_slice_keeps_every_second_node_in_order_and_pods_ask_for_no_more_than_130_percent(
    part: Slice,
) -> None:
    assert list(part.nodes) == NODES[::2]
    asked = sum(pod.total_milli for pod in part.coming)
    assert 1.1 * part.total_milli < asked <= 1.3 * part.total_milli + 7000


def test_the_plain_replay_is_the_simulators(part: Slice) -> None:
    found = allocated_percent(part, plain(part, made_pods()))
    assert found == pytest.approx(replay("ingle", part.nodes, made_pods(), seed=SEED).final_percent)


def test_with_cpu_in_its_mix_the_replay_beside_puts_pods_with_gpus_where_the_plain_one_does(
    part: Slice,
) -> None:
    mix = mix_of(AskClass(pod.gpu_milli, pod.gpus, pod.products, pod.cpu_milli) for pod in made_pods())
    seen = plain(part, made_pods())
    found = compared(part, seen, Beside(part.nodes, mix, cpu_known=True))
    assert found.same == found.asked == sum(pod.gpus > 0 for pod in part.coming)
    assert found.allocated_percent == pytest.approx(allocated_percent(part, seen))


def test_a_pod_that_a_cluster_put_elsewhere_is_counted(part: Slice) -> None:
    mix = mix_of_pools(pools(made_pods()))
    beside, seen = Beside(part.nodes, mix), []
    for pod in part.coming:
        choice = beside.place(pod, "")
        node = None if choice is None else shape(part.nodes[choice.node])
        gpus = () if node is None or choice is None else tuple(node.uuids[i] for i in choice.gpus)
        seen.append(("" if node is None else node.name, gpus))
    again = compared(part, seen, Beside(part.nodes, mix))
    assert again.same == again.asked
    first = next(i for i, pod in enumerate(part.coming) if pod.gpus)
    seen[first] = ("elsewhere", ("GPU-elsewhere-0",))
    assert compared(part, seen, Beside(part.nodes, mix)).same == again.asked - 1


def test_a_pod_without_gpus_takes_its_cpu_where_it_was_seen_and_nothing_where_that_is_full() -> None:
    node = TraceNode("n", 4000, 1, "T4")
    beside = Beside([node], None)
    cpu_pod = TracePod("c", 3000, 0, 0)
    assert beside.place(cpu_pod, "n") == (0, ())
    assert beside.place(cpu_pod, "n") is None
    assert beside.rank(TracePod("g", 2000, 1, 500)).node is None
    assert beside.rank(TracePod("g", 1000, 1, 500)).node == "n"


def test_pools_may_ask_for_each_kind_as_often_as_the_trace_does() -> None:
    pods = [*made_pods(), *(TracePod(f"q{i}", 1000, 1, 500) for i in range(600))]
    made = pools(pods)
    for pool in made:
        InferencePoolSpec.model_validate(pool["spec"])
    asked = mix_of(AskClass(pod.gpu_milli, pod.gpus, pod.products) for pod in pods if pod.gpus)
    found = mix_of_pools(made)
    assert asked is not None
    assert found is not None
    shares = dict(zip(asked.classes, asked.shares, strict=True))
    assert dict(zip(found.classes, found.shares, strict=True)) == pytest.approx(shares)


def test_as_devices_a_share_takes_a_whole_gpu_and_products_are_an_affinity() -> None:
    body = device_pod("p", TracePod("p", 1500, 1, 300, ("T4", "G2")), "default-scheduler")
    assert body["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert '"values": ["T4", "G2"]' in json.dumps(body["spec"]["affinity"])
    assert kube_node(shape(NODES[1]))["metadata"]["labels"]["nvidia.com/gpu.product"] == NODES[1].product


def test_only_pods_with_gpus_are_ours_and_their_ask_is_that_of_the_trace() -> None:
    ours = our_pod("p", TracePod("p", 1500, 2, 1000, ("T4",)), "default-scheduler")
    ask = ask_from_annotation(ours["metadata"]["annotations"][ANNOTATION_PLACEMENT])
    assert (ours["spec"]["schedulerName"], ask.gpus, ask.memory_mib.awake) == ("ingle", 2, 1000)
    assert (ask.products, ask.numa, ask.nvlink) == (("T4",), "None", "None")
    assert Question(ask).ask.gpus == ask_body(TracePod("p", 1500, 2, 1000))["gpus"]
    other = our_pod("p", TracePod("p", 1500, 0, 0), "default-scheduler")
    assert other["spec"]["schedulerName"] == "default-scheduler"


def test_nodes_are_objects_that_the_kinds_allow_with_ledgers_that_are_not_oversold() -> None:
    plan = warmth.warmth(nodes=60, models=8, pods=5, seed=1)
    for one in (*plan.shapes, *map(shape, NODES[1:4]), Shape("zoneless", gpus=1, zones=0)):
        spec, status = gpu_node(one)["spec"], gpu_node_status(one)["status"]
        GPUNodeSpec.model_validate(spec)
        GPUNodeStatus.model_validate(status)
        assert oversold(Ledger.from_dict(spec)) == 0
        assert sum(bool(gpu["claims"]) for gpu in spec["gpus"]) == sum(map(bool, one.held_mib))
    assert gpu_node_status(shapes(1)[0])["status"]["gpus"][5]["numa"] == 1


def test_warm_nodes_are_those_that_say_so_and_rooms_count_down() -> None:
    plan = warmth.warmth(nodes=40, models=6, pods=50, seed=2)
    assert plan == warmth.warmth(nodes=40, models=6, pods=50, seed=2)
    by_name = {one.name: one for one in plan.shapes}
    for model, nodes in enumerate(plan.warm_on):
        named = {warmth.model_of(model), warmth.key_of(model)}
        assert 3 <= len(nodes) <= 20
        assert nodes == {name for name, one in by_name.items() if named & {what for _, what in one.warm}}
    rooms = warmth.Rooms(plan)
    node = next(iter(sorted(rooms.warm_with_room(0))))
    for _ in range(by_name[node].gpus - by_name[node].taken):
        assert node in rooms.warm_with_room(0)
        rooms.take(node)
    assert node not in rooms.warm_with_room(0)


def test_rank_alone_puts_nearly_every_pod_on_a_warm_node_with_room() -> None:
    plan = warmth.warmth(nodes=80, models=8, pods=60, seed=4)
    columns, mix = Columns(nodes=80), mix_of_pools(warmth.pools(8))
    assert mix is not None
    context = Context(fragmentation=Fragmentation(mix))
    for one in plan.shapes:
        node = GpuNode.from_dict({**gpu_node(one), **gpu_node_status(one)})
        columns.update(one.name, node_facts(node, heard_at_s=math.inf))
    rooms = warmth.Rooms(plan)
    landed = could = 0
    for model in set(plan.asked):
        ask = ask_from_annotation(warmth.our_pod("p", model)["metadata"]["annotations"][ANNOTATION_PLACEMENT])
        warm = rooms.warm_with_room(model)
        landed += rank(ask, columns, now_s=0.0, context=context).node in warm
        could += bool(warm)
    assert landed == could > 4


async def test_a_claim_that_is_kept_in_memory_is_seen_by_the_next_filter() -> None:
    claimed: list[str] = []
    made = Nodes(on_claimed=claimed.extend)
    body = gpu_node(Shape("a", gpus=1)) | gpu_node_status(Shape("a", gpus=1))
    body["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    made.take("a", Seen.of(body))
    ledgers = InMemory(made)
    for uid in ("p1", "p2"):
        outcome = await ledgers.write(
            "a",
            lambda ledger, uid=uid: claim(
                ledger, PodRef(uid, "d/p"), ("GPU-a-0",), memory_mib=30_000, watts=0, at=""
            ),
        )
        assert isinstance(outcome, Written)
        assert made.node_of(uid) == "a"
    assert sorted(set(claimed)) == ["p1", "p2"]
    assert made.columns.gpu["headroom_mib"][0, 0] == 20_000
