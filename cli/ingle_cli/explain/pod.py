"""`explain pod/NAME`: why here, why not there, why pending."""

from __future__ import annotations

import asyncio

from ingle_cli.access import CallersKube
from ingle_cli.explain.placing import ask_of, of_extender, of_objects
from ingle_cli.explain.pod_text import Story, pod_text
from ingle_cli.explain.read import events_of, if_allowed, read_one
from ingle_cli.explain.scheduler import ask_scheduler
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import Object, gpu_node
from ingle_cli.text import Shown
from ingle_core.facts import GpuNode
from ingle_core.placement import Context
from ingle_kit.kube import KubeError, NotFound
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LABEL_POOL, NODE, POD, SCHEDULER_NAME
from ingle_kit.poolfacts import known_pools

ENDED = ("Succeeded", "Failed")


async def explain_pod(kube: CallersKube, name: str, now_s: float) -> tuple[Shown, Failure | None]:
    """What to print; the Failure says which right was missing for a part of it."""
    pod = await read_one(kube, POD, name, kube.namespace)
    if pod["spec"].get("schedulerName") != SCHEDULER_NAME:
        return pod_text(Story(pod, foreign=True), now_s), None
    errors: list[KubeError] = []
    engine, pools, events, gpu_nodes, nodes, told = await asyncio.gather(
        if_allowed(_engine(kube, pod), errors),
        if_allowed(kube.list(INFERENCE_POOL), errors),
        if_allowed(events_of(kube, pod, POD), errors),
        if_allowed(kube.list(GPU_NODE), errors),
        if_allowed(kube.list(NODE), errors),
        ask_scheduler(kube, pod),
    )
    known = None if gpu_nodes is None else [gpu_node(obj) for obj in gpu_nodes[0]]
    by_name = None if nodes is None else {obj["metadata"]["name"]: obj for obj in nodes[0]}
    context = known_pools(pools[0] if pools else ()).context(now_s)
    story = Story(pod, engine=engine, events=events, told=told)
    story = _placed(story, known, by_name, context, now_s)
    return pod_text(story, now_s), failure(errors, kube.server) if errors else None


async def _engine(kube: CallersKube, pod: Object) -> Object | None:
    """What the pool's status says about the pod, None where it says nothing."""
    pool = (pod["metadata"].get("labels") or {}).get(LABEL_POOL)
    if not pool:
        return None
    try:
        found = await kube.get(INFERENCE_POOL, pool, pod["metadata"]["namespace"])
    except NotFound:
        return None
    engines = (found.get("status") or {}).get("engines") or ()
    return next((one for one in engines if one["pod"] == pod["metadata"]["name"]), None)


def _placed(
    story: Story,
    gpu_nodes: list[GpuNode] | None,
    nodes: dict[str, Object] | None,
    context: Context,
    now_s: float,
) -> Story:
    """The story with the pod's claim and where it would go now.

    A pod that has a claim is ranked from the objects, where the claim can be taken out; for one without, the
    extender knows more.
    """
    pod, told = story.pod, story.told
    try:
        ask = ask_of(pod)
    except ValueError as error:
        return story.having(wrong=str(error))
    holder = next((n for n in gpu_nodes or () if n.spec.holder(pod["metadata"]["uid"])), None)
    story = story.having(ask=ask, claim_on=holder)
    if ask is None or pod["status"].get("phase") in ENDED:
        return story
    if holder is None and told and told.get("now"):
        try:
            return story.having(placing=of_extender(ask, told["now"]), by_scheduler=True)
        except (KeyError, TypeError):
            story = story.having(told=None)  # another version answers in another shape: the objects will do
    if gpu_nodes is None:
        return story
    return story.having(placing=of_objects(ask, pod, gpu_nodes, nodes, now_s=now_s, context=context))
