"""New pods of models whose weights or compile cache lie on some node with room: how many land on such a node.

Pods come one after the other, each on one GPU that it needs nearly for itself. A pod counts where, when it was made, a
node with its model's weights or compile cache had a GPU with room for it: by what was taken at the start and by where
the pods before it went, in the same run. Fuller GPUs elsewhere pull the other way. The default scheduler gets the same
pods, asking one `nvidia.com/gpu`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.real.bulk import each, say
from bench.real.inturn import InTurn
from bench.real.objects import NAMESPACE, Body, plain_pod
from bench.real.rows import Row, at_least, told
from bench.real.site import DEFAULT_SCHEDULER, Site
from bench.real.warmth import HOURS_WANTED, Rooms, Warmth, holder_pod, our_pod, pools, warmth
from ingle_kit import names

LEAST_PERCENT: Final = 99.0
SEED: Final = 7


async def rows(site: Site, *, nodes: int, models: int, pods: int) -> list[Row]:
    """The share that lands on a warm node, of the pods that could."""
    plan = warmth(nodes=nodes, models=models, pods=pods, seed=SEED)
    await site.bulk.make_nodes(list(plan.shapes))
    await site.bulk.make_pods(holder_pod(shape) for shape in plan.shapes if shape.taken)
    await site.bulk.make_pools(pools(models), {"demandPercentByHour": HOURS_WANTED})
    await site.start_extender()
    await site.start_scheduler()
    ours, could = await _share(site, plan, our_pod)
    await site.stop_extender()
    await site.start_scheduler(extender=False, default=True)
    default, could_by_default = await _share(site, plan, _device_pod)
    say(f"warm: {ours:.1f} % of {could} pods; default scheduler {default:.1f} % of {could_by_default}")
    against = {"baseline": "default scheduler, same pods, %", "baseline_value": default}
    return [
        at_least("warm_placement", ours, "% of pods", LEAST_PERCENT, **against),
        told("warm_placement_pods", could, "pods"),
    ]


def _device_pod(name: str, model: int) -> Body:
    return plain_pod(name, whole_gpus=1, scheduler=DEFAULT_SCHEDULER)


async def _share(site: Site, plan: Warmth, body: Callable[[str, int], Body]) -> tuple[float, int]:
    """% of the pods that had a warm node with room and got one, and how many those were; all pods are gone then."""
    rooms, made, could, landed = Rooms(plan), [], 0, 0
    async with InTurn(site) as turn:
        for number, model in enumerate(plan.asked):
            name = f"m{number:05d}"
            warm = rooms.warm_with_room(model)
            pod = await turn.place(body(name, model))
            if pod is None:
                raise RuntimeError(f"pod {name} fits nowhere; there is room")
            made.append(name)
            rooms.take(pod.node)
            could += bool(warm)
            landed += pod.node in warm
    await each(made, lambda name: site.kube.delete(names.POD, name, NAMESPACE, grace_s=0))
    return 100 * landed / max(1, could), could
