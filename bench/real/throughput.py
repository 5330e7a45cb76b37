"""Pods bound a second: kube-scheduler alone, with our extender without claims, and as it ships.

All pods are there before the scheduler starts; the rate is that between the first and the last Binding that a watch
shows. They take turns, and the middle one of each is told. Alone it binds pods that ask for no GPU, and, told beside
that, pods that ask for a whole one: any extended resource costs kube-scheduler a regular expression a node.
"""

from __future__ import annotations

from statistics import median

from bench.real.bulk import say
from bench.real.objects import Body, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_least, told
from bench.real.site import EXTENDER, UNCLAIMED, Site
from ingle_kit.names import RESOURCE_GPU_MEMORY, RESOURCE_NVIDIA_GPU

ALONE, ALONE_GPU = "no_extender", "no_extender_whole_gpu"
MODULES = {ALONE: None, ALONE_GPU: None, "extender": UNCLAIMED, "extender_and_claims": EXTENDER}
LEAST = {"extender": 0.7, "extender_and_claims": 0.5}


async def rows(site: Site, *, pods: int, rounds: int) -> list[Row]:
    """Four rates and two ratios."""
    rates: dict[str, list[float]] = {name: [] for name in MODULES}
    for number in range(rounds):
        for name in MODULES:
            rate = await _rate(site, name, pods)
            say(f"bound per second, round {number + 1} of {rounds}, {name}: {rate:.0f}")
            rates[name].append(rate)
    middle = {name: median(found) for name, found in rates.items()}
    alone = middle[ALONE]
    against = {"baseline": "no extender, pods/s", "baseline_value": alone}
    found = [told(f"bound_per_second_{name}", middle[name], "pods/s") for name in MODULES]
    return found + [
        at_least(f"bound_ratio_{name}", middle[name] / alone, "x", least, **against)
        for name, least in LEAST.items()
    ]


async def _rate(site: Site, name: str, pods: int) -> float:
    await site.reset()
    module = MODULES[name]
    if module is not None:
        await site.start_extender(module)
    names = [f"p{i:05d}" for i in range(pods)]
    async with PodWatch(site.kube) as watch:
        await site.bulk.make_pods(_pod(n, name) for n in names)
        await site.start_scheduler(extender=module is not None)
        await watch.until_bound(names, 60 + pods / 5)
        times = sorted(watch.bound_at_s.values())
    if module == EXTENDER:
        found = await site.bulk.audit()
        if (found.bound, found.double_bookings, found.leaked) != (pods, 0, 0):
            raise RuntimeError(f"claims and Bindings differ: {found}")
    return (len(times) - 1) / (times[-1] - times[0])


def _pod(name: str, mode: str) -> Body:
    """The same pod, labels and annotations too; for kube-scheduler alone without what only our extender knows."""
    body = engine_pod(name)
    for amounts in body["spec"]["containers"][0]["resources"].values() if MODULES[mode] is None else ():
        amounts.pop(RESOURCE_GPU_MEMORY)
        amounts |= {RESOURCE_NVIDIA_GPU: "1"} if mode == ALONE_GPU else {}
    return body
