"""Pods bound a second: kube-scheduler alone, with our extender without claims, and as it ships.

All pods are there before the scheduler starts; the rate is that between the first and the last Binding that a watch
shows, and processor time is read at the same two moments. The modes take turns, and the middle round of each is told.
Everything shares the machine's cores, so processor time a pod, summed over all processes, is what decides the rate.

Alone, kube-scheduler is measured three times: with pods that ask for no extended resource (`no_extender`, the baseline
of both targets), with pods that ask for a whole GPU, and with exactly the pods that our extender gets
(`no_extender_same_pods`), whose resource it is told to ignore as our entry tells it to: what is left between that and
`extender` is the extender itself. A pod that asks for any extended resource, ignored or not, costs kube-scheduler a
regular expression for each node, some 1 ms a pod where there are 1 000.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.real.bulk import say
from bench.real.objects import Body, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.processor import CpuMs, cpu_s, middle, ms_a_pod
from bench.real.rows import Row, at_least, told
from bench.real.site import EXTENDER, SCHEDULER, UNCLAIMED, Site
from ingle_kit.names import RESOURCE_GPU_MEMORY, RESOURCE_NVIDIA_GPU


@dataclass(frozen=True)
class Mode:
    """`module`: the extender, None: none. `asks`: the extended resource that its pods ask for, None: none."""

    module: str | None = None
    asks: str | None = RESOURCE_GPU_MEMORY


ALONE, SAME_PODS = "no_extender", "no_extender_same_pods"
MODES = {
    ALONE: Mode(asks=None),
    "no_extender_whole_gpu": Mode(asks=RESOURCE_NVIDIA_GPU),
    SAME_PODS: Mode(),
    "extender": Mode(UNCLAIMED),
    "extender_and_claims": Mode(EXTENDER),
}
PARTS = (SCHEDULER, "kube-apiserver", "extender")
LEAST = {"extender": 0.7, "extender_and_claims": 0.5}


@dataclass(frozen=True)
class Found:
    """Pods bound a second, and what each process took for one."""

    rate: float
    cpu_ms: CpuMs


async def rows(site: Site, *, pods: int, rounds: int) -> list[Row]:
    """Rates, their ratios to both baselines, and processor time a pod."""
    found: dict[str, list[Found]] = {name: [] for name in MODES}
    for number in range(rounds):
        for name in MODES:
            one = await measured(site, name, pods)
            say(f"round {number + 1} of {rounds}, {name}: {one.rate:.0f} bound a second; {_told(one.cpu_ms)}")
            found[name].append(one)
    rate = {name: median(one.rate for one in ones) for name, ones in found.items()}
    cpu_ms = {name: middle([one.cpu_ms for one in ones]) for name, ones in found.items()}
    return [*_rates(rate), *_processor_times(cpu_ms)]


def _rates(rate: dict[str, float]) -> list[Row]:
    against = {"baseline": "no extender, pods/s", "baseline_value": rate[ALONE]}
    same = {"baseline": "no extender, same pods, pods/s", "baseline_value": rate[SAME_PODS]}
    return [
        *(told(f"bound_per_second_{name}", rate[name], "pods/s") for name in MODES),
        *(
            at_least(f"bound_ratio_{n}", rate[n] / rate[ALONE], "x", least, **against)
            for n, least in LEAST.items()
        ),
        *(told(f"bound_ratio_{name}_same_pods", rate[name] / rate[SAME_PODS], "x", **same) for name in LEAST),
    ]


def _processor_times(cpu_ms: dict[str, CpuMs]) -> list[Row]:
    """Of each mode that a ratio is made of: the sum, and what the extender changes in it."""
    found: list[Row] = []
    for name in (ALONE, SAME_PODS, *LEAST):
        parts = cpu_ms[name]
        found.append(told(f"cpu_ms_a_pod_{name}", sum(parts.values()), "ms"))
        found += [told(f"cpu_ms_a_pod_{name}, {part}", parts[part], "ms") for part in PARTS if part in parts]
    return found


def _told(cpu_ms: CpuMs) -> str:
    parts = ", ".join(f"{name} {value:.2f}" for name, value in cpu_ms.items())
    return f"processor time, ms a pod: {sum(cpu_ms.values()):.2f} ({parts})"


async def measured(site: Site, name: str, pods: int) -> Found:
    """One round of one mode."""
    mode = MODES[name]
    await site.reset()
    if mode.module is not None:
        await site.start_extender(mode.module)
    names = [f"p{i:05d}" for i in range(pods)]
    async with PodWatch(site.kube) as watch:
        await site.bulk.make_pods(_pod(n, mode) for n in names)
        ignored = [] if mode.module or mode.asks != RESOURCE_GPU_MEMORY else [RESOURCE_GPU_MEMORY]
        await site.start_scheduler(extender=mode.module is not None, ignored=ignored)
        await watch.until(lambda: bool(watch.bound_at_s), "the first pod bound", 60)
        early, before = len(watch.bound_at_s), cpu_s(site.pids)
        await watch.until_bound(names, 60 + pods / 5)
        after = cpu_s(site.pids)
        times = sorted(watch.bound_at_s.values())
    if mode.module == EXTENDER:
        audit = await site.bulk.audit()
        if (audit.bound, audit.double_bookings, audit.leaked) != (pods, 0, 0):
            raise RuntimeError(f"claims and Bindings differ: {audit}")
    return Found((len(times) - 1) / (times[-1] - times[0]), ms_a_pod(before, after, max(1, pods - early)))


def _pod(name: str, mode: Mode) -> Body:
    """The same pod in every mode, labels and annotations too, but for the extended resource."""
    body = engine_pod(name)
    if mode.asks != RESOURCE_GPU_MEMORY:
        for amounts in body["spec"]["containers"][0]["resources"].values():
            amounts.pop(RESOURCE_GPU_MEMORY)
            amounts |= {mode.asks: "1"} if mode.asks else {}
    return body
