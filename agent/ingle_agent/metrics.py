"""/metrics. Readings of GPUs under the names that DCGM's exporter gave them, so that its dashboards work here too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingle_agent.device import GpuSample, GpuShape
from ingle_agent.hub import Hub
from ingle_agent.loop import Snapshot
from ingle_kit.streams import MIB

LABELS = ("gpu", "UUID", "modelName", "Hostname")
Reading = Callable[[GpuShape, GpuSample, dict[str, int]], float]

# name, help, reading; floats as DCGM has them: W, MiB, MHz, mJ
GAUGES: tuple[tuple[str, str, Reading], ...] = (
    ("DCGM_FI_DEV_POWER_USAGE", "Draw in W, average of about a second.", lambda _, s, __: s.draw_w),
    ("DCGM_FI_DEV_FB_USED", "Memory used in MiB, without reserved.", lambda _, s, __: s.used_bytes / MIB),
    ("DCGM_FI_DEV_FB_FREE", "Memory free in MiB.", lambda _, s, __: s.free_bytes / MIB),
    (
        "DCGM_FI_DEV_FB_RESERVED",
        "Memory reserved by the driver in MiB.",
        lambda _, s, __: s.reserved_bytes / MIB,
    ),
    ("DCGM_FI_DEV_SM_CLOCK", "SM clock in MHz.", lambda _, s, __: float(s.sm_mhz)),
    (
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        "Why clocks are held, NVML's bits.",
        lambda _, s, __: float(s.throttle),
    ),
    ("DCGM_FI_DEV_POWER_MGMT_LIMIT", "Limit asked for, in W.", lambda _, s, __: s.limit_w),
    ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "Limit in force, in W.", lambda _, s, __: s.enforced_w),
    (
        "ingle_agent_gpu_cap_watts",
        "Limit this agent wants, in W.",
        lambda shape, _, caps: float(caps.get(shape.uuid, 0)),
    ),
    (
        "ingle_agent_gpu_healthy",
        "1 while the GPU can be read, 0 when lost or unreadable.",
        lambda _, s, __: float(s.health == "Healthy"),
    ),
)


class AgentCollector(Collector):
    """Renders the newest snapshot; reads nothing from the driver."""

    def __init__(
        self, node: str, hub: Hub, watch_age_s: Callable[[], float], status_writes: Callable[[], int]
    ) -> None:
        self._node, self._hub = node, hub
        self._watch_age_s, self._status_writes = watch_age_s, status_writes

    def collect(self) -> Iterable[Metric]:
        age = GaugeMetricFamily(
            "ingle_watch_age_seconds", "Since the API server was last heard.", labels=("kind",)
        )
        age.add_metric(("gpunodes",), self._watch_age_s())
        yield age
        yield _gauge(
            "ingle_agent_reading_age_seconds", "Since the GPUs were read.", self._hub.reading_age_s()
        )
        yield _gauge("ingle_agent_stream_readers", "Readers of the stream.", self._hub.readers)
        yield _gauge(
            "ingle_agent_stream_silent_seconds", "Since a reader took a message.", self._hub.silent_s()
        )
        yield _counter("ingle_agent_status_writes", "Writes of GPUNode.status.", self._status_writes())
        snapshot = self._hub.snapshot
        if snapshot is not None:
            yield from self._of(snapshot)

    def _of(self, snapshot: Snapshot) -> Iterator[Metric]:
        force = snapshot.in_force
        yield _gauge(
            "ingle_agent_observed_revision", "Ledger revision whose caps are in force.", force.revision
        )
        yield _gauge("ingle_agent_caps_in_force", "1 while the newest ledger's caps are in force.", force.now)
        yield _gauge("ingle_agent_safe_caps", "1 while wattsSafe holds because nobody listens.", force.safe)
        yield _counter("ingle_agent_limit_writes", "Power limits written.", snapshot.limit_writes)
        errors = CounterMetricFamily("ingle_agent_nvml_errors", "Failed NVML calls.", labels=("error",))
        for name, count in snapshot.errors.items():
            errors.add_metric((name,), count)
        yield errors
        caps = dict(force.limits_w)
        pairs = list(zip(snapshot.shapes, snapshot.samples, strict=True))
        for name, text, reading in GAUGES:
            family = GaugeMetricFamily(name, text, labels=LABELS)
            for shape, sample in pairs:
                family.add_metric(self._labels(shape), reading(shape, sample, caps))
            yield family
        energy = CounterMetricFamily(
            "ingle_agent_gpu_energy_joules", "Energy since driver load.", labels=LABELS
        )
        for shape, sample in pairs:
            energy.add_metric(self._labels(shape), sample.energy_j)
        yield energy

    def _labels(self, shape: GpuShape) -> tuple[str, str, str, str]:
        return str(shape.index), shape.uuid, shape.product, self._node


def registry_of(collector: AgentCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
