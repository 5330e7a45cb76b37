"""The question put together, asked of the scheduler, else answered from API objects by the same code."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ingle_cli.access import CallersKube
from ingle_cli.explain.placing import ask_of, facts_of
from ingle_cli.explain.read import if_allowed
from ingle_cli.explain.scheduler import ask_whatif
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import Object, gpu_node
from ingle_cli.text import Shown
from ingle_cli.whatif.dryrun import Tried, dry_run
from ingle_cli.whatif.giving import Needs, room_for
from ingle_cli.whatif.text import Prospect, prospect_json, prospect_text
from ingle_core.facts import Columns, GpuNode
from ingle_core.placement import NOTHING_ELSE, Ask, Assumed, Context, Ranking, rank
from ingle_core.placement.room import Room
from ingle_kit.kube import KubeError
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LABEL_POOL, NODE, POD
from ingle_kit.objects import GPUNodeStatus, InferencePoolSpec, dump
from ingle_kit.objects.asks import NodeGpus, fitting_variant, placement_ask
from ingle_kit.poolfacts import known_pools, pool_facts
from ingle_kit.whatif import REPLICAS_MAX, Answer, Question, Taint, Tolerates, answer


@dataclass(frozen=True)
class Cluster:
    """What was read. `nodes`, `pools`, `pods`: None where they may not be."""

    gpu_nodes: list[Object]
    nodes: dict[str, Object] | None
    pools: list[Object] | None
    pods: list[Object] | None

    def parsed(self) -> list[GpuNode]:
        return [gpu_node(obj) for obj in self.gpu_nodes]

    def node_gpus(self) -> list[NodeGpus]:
        """Labels and GPUs; without the right to see Nodes each seems to have the labels it needs."""
        return [
            NodeGpus(
                self.labels(obj["metadata"]["name"]),
                GPUNodeStatus.model_validate(obj.get("status") or {}).gpus,
            )
            for obj in self.gpu_nodes
        ]

    def labels(self, name: str) -> dict[str, str]:
        found = (self.nodes or {}).get(name, {}).get("metadata", {}).get("labels")
        return dict(found or {})

    def context(self, question: Question, now_s: float) -> Context:
        """What the scheduler ranks by once the pool is made; nothing where pools may not be read."""
        if self.pools is None or question.pool is None:
            return NOTHING_ELSE
        return known_pools(self.pools).context_if(question.ask.pool, question.pool, now_s)

    def offered(self, question: Question) -> list[str]:
        names = [obj["metadata"]["name"] for obj in self.gpu_nodes]
        if self.nodes is None:
            return names
        taints = {
            name: msgspec.convert(self.nodes[name]["spec"].get("taints") or [], tuple[Taint, ...])
            for name in names
            if name in self.nodes
        }
        return [name for name in taints if question.offers(self.labels(name), taints[name])]


async def whatif(
    kube: CallersKube, pool: Object, replicas: int | None, now_s: float, *, as_json: bool = False
) -> tuple[Shown | str, Failure | None]:
    """What to print; the Failure says which right was missing for a part of it. `replicas` None: those it would start.

    Raises Failure where the pool would be refused.
    """
    tried = await dry_run(kube, pool)
    errors: list[KubeError] = [tried.missing] if tried.missing else []
    cluster = await _read(kube, errors)
    prospect = await _prospect(kube, tried, cluster, replicas, now_s)
    missing = failure(errors, kube.server) if errors else None
    return prospect_json(prospect) if as_json else prospect_text(prospect), missing


async def _read(kube: CallersKube, errors: list[KubeError]) -> Cluster:
    (gpu_nodes, _), nodes, pools, pods = await asyncio.gather(
        kube.list(GPU_NODE),
        if_allowed(kube.list(NODE), errors),
        if_allowed(kube.list(INFERENCE_POOL), errors),
        if_allowed(kube.list(POD, label_selector=LABEL_POOL), errors),
    )
    by_name = None if nodes is None else {obj["metadata"]["name"]: obj for obj in nodes[0]}
    return Cluster(gpu_nodes, by_name, pools[0] if pools else None, pods[0] if pods else None)


async def _prospect(
    kube: CallersKube, tried: Tried, cluster: Cluster, replicas: int | None, now_s: float
) -> Prospect:
    spec, name = tried.spec, f"{tried.namespace}/{tried.name}"
    blank = Prospect(name, exists=tried.exists, by_server=tried.missing is None)
    any_node = spec.model_copy(update={"placement": spec.placement.model_copy(update={"node_selector": {}})})
    variant = fitting_variant(any_node if cluster.nodes is None else spec, cluster.node_gpus())
    if variant is None:
        return blank
    question = Question(
        ask=msgspec.convert(placement_ask(name, spec, variant) | _spare(spec, replicas), Ask),
        replicas=replicas or started(spec),
        node_selector=dict(spec.placement.node_selector),
        tolerations=tuple(msgspec.convert(dump(one), Tolerates) for one in spec.template.tolerations),
        id=uuid.uuid4().hex,
        pool=pool_facts({"spec": dump(spec)}),
    )
    told = await ask_whatif(kube, question)
    found = told or _own_answer(question, cluster, now_s)
    room = None
    if len(found.replicas) < found.asked:
        room = _room(question, found, cluster, now_s)
    return Prospect(
        name, blank.exists, blank.by_server, variant.name, question, found, told is not None, room
    )


def _spare(spec: InferencePoolSpec, replicas: int | None) -> dict[str, bool]:
    """Spares that nobody wants awake start without their model, and claim nothing. Where some are wanted awake, all are
    asked for as those: room for one with its model is room for a spare."""
    return {"spare": True} if spec.warm.level == "Spare" and replicas is None and not _awake(spec) else {}


def _awake(spec: InferencePoolSpec) -> int:
    return spec.replicas.min if spec.replicas.fixed is None else spec.replicas.fixed


def started(spec: InferencePoolSpec) -> int:
    """Engines that a new pool starts while nobody asks for it, at least 1: what it keeps awake and asleep."""
    awake = _awake(spec)
    keep = min(max(spec.replicas.max, spec.warm.asleep), max(awake, spec.replicas.min + spec.warm.asleep))
    return min(REPLICAS_MAX, max(1, awake, keep))


def _own_answer(question: Question, cluster: Cluster, now_s: float) -> Answer:
    context = cluster.context(question, now_s)
    columns = Columns()
    for node in cluster.parsed():
        columns.update(node.metadata.name, facts_of(node, cluster.nodes))
    names = cluster.offered(question)

    def rank_beside(assumed: Sequence[Assumed]) -> Ranking:
        return rank(question.ask, columns, names, assumed, now_s=now_s, context=context)

    found, _ = answer(question, columns.facts, names, rank_beside)
    return found


def _room(question: Question, found: Answer, cluster: Cluster, now_s: float) -> Room | None:
    """For the first that fits nowhere; None where pools or pods cannot be read."""
    if cluster.pools is None or cluster.pods is None:
        return None
    ask = question.ask
    earlier = [
        Assumed(
            f"turn-{number}",
            one.node,
            one.gpus,
            ask.charge_mib,
            ask.charge_w,
            one.host_zone,
            ask.memory_mib.host if one.host_zone is not None else 0,
        )
        for number, one in enumerate(found.replicas)
    ]
    names = cluster.offered(question)
    needs = _needs(cluster.pods)
    context = cluster.context(question, now_s)
    seen = (cluster.parsed(), cluster.nodes, cluster.pools)
    return room_for(ask, *seen, needs, names, earlier, now_s=now_s, context=context)


def _needs(pods: Sequence[Object]) -> Needs:
    needs: dict[str, Ask] = {}
    for pod in pods:
        try:
            ask = ask_of(pod)
        except ValueError:
            continue  # not an engine of ours: nobody knows what it keeps
        if ask is not None:
            needs[pod["metadata"]["uid"]] = ask
    return needs
