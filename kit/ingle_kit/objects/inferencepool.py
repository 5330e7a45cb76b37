"""InferencePool: one model, how its engines run, and how many are awake, asleep or gone."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ingle_core.warmpool.prewarm import Prewarm as Schedule
from ingle_kit.objects.base import (
    ATOMIC,
    SET,
    ApiModel,
    GpuUuid,
    Label63,
    ModelName,
    Name253,
    Rule,
    Timestamp,
    Uid,
    list_map,
)
from ingle_kit.objects.conditions import Conditions
from ingle_kit.objects.placement import Placement
from ingle_kit.objects.prewarm import Prewarm
from ingle_kit.objects.template import Template
from ingle_kit.objects.variant import Engine, Variant, VariantMemory, VariantWatts, Weights

__all__ = [
    "Engine",
    "InferencePoolSpec",
    "InferencePoolStatus",
    "Variant",
    "VariantMemory",
    "VariantWatts",
    "Weights",
]

MAX_REPLICAS = 256
DEFAULT_MAX_REPLICAS = 1
LAST_GOOD_CHARS_MAX = 32_768

Replicas = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
Percent = Annotated[int, Field(ge=0, le=100)]


def _fixed_fits(replicas: ReplicaRange) -> bool:
    return replicas.fixed is None or replicas.min <= replicas.fixed <= replicas.max


class ReplicaRange(ApiModel):
    """How many replicas are awake."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.min) ? self.min : 0) <= (has(self.max) ? self.max : 1)",
            "replicas.min must not be above replicas.max (1 where absent): lower min or raise max",
            lambda s: s.min <= s.max,
            ".min",
        ),
        Rule(
            "!has(self.fixed) || (self.fixed >= (has(self.min) ? self.min : 0)"
            " && self.fixed <= (has(self.max) ? self.max : 1))",
            "replicas.fixed must lie between replicas.min (0 where absent) and replicas.max (1 where absent)",
            _fixed_fits,
            ".fixed",
        ),
    )
    min: Replicas = Field(default=0, description="Replicas that are always awake. Absent: 0.")
    max: Replicas = Field(default=DEFAULT_MAX_REPLICAS, description="Most replicas awake at once. Absent: 1.")
    fixed: Replicas | None = Field(
        default=None,
        description="Exactly this many awake, whatever the load; set by /scale. Absent: by load.",
    )


class Scaling(ApiModel):
    """When another replica is woken. Of several signals the one that asks for most counts."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=16, description="Requests in flight one awake replica is meant for. Absent: 16."
    )
    queue: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="Requests that may queue inside an engine, on average over the awake ones. Absent: not looked at.",
    )
    kv_percent: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="Percent of the KV cache that may be in use, on average over the awake engines. Absent: not looked at.",
    )
    ttft_milliseconds: Annotated[int, Field(ge=1, le=600_000)] | None = Field(
        default=None,
        description="Time in ms to the first token, the 90th percentile of the last minute as engines report it, on average "
        "over the awake ones. Absent: not looked at.",
    )
    forecast: Literal["None", "Seasonal"] = Field(
        default="None",
        description="Seasonal wakes replicas ahead of load that came at this time on days before. Absent: None.",
    )


class Warm(ApiModel):
    """What stays warm without requests."""

    asleep: Replicas = Field(default=0, description="Sleepers kept although nobody asks. Absent: 0.")
    level: Literal["L1", "L2", "Spare"] = Field(
        default="L1",
        description="How deep replicas sleep: L1 keeps the weights in host memory (memoryMiB.host is claimed), L2 drops"
        " them and reads them again at each wake, Spare ends the engine, so that no GPU memory stays, and keeps a process"
        " with its imports done, into which a wake loads. A change replaces the replicas. Absent: L1.",
    )
    idle_seconds: Annotated[int, Field(ge=1, le=604_800)] = Field(
        default=120, description="Seconds without a request after which an awake replica sleeps. Absent: 120."
    )
    keep_alive: Literal["Fixed", "Histogram", "GreedyDual", "ExpectedUse"] = Field(
        default="Fixed",
        description="How long an unused replica stays awake, never less than idleSeconds but where another needs its room,"
        " or with any kind but Fixed a sleeper of the same GPU room to wake at once: Fixed, idleSeconds; Histogram,"
        " by the idle times of the pool, let go and made ready again in time; GreedyDual, while there is room;"
        " ExpectedUse, while a use is likely enough to be worth its room. With the last two the least useful replica"
        " gives way first when room is short. Absent: Fixed.",
    )
    prewarm: Annotated[list[Prewarm], Field(max_length=16, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Replicas made ready by the clock. Absent or empty: none."
    )

    @cached_property
    def schedule(self) -> tuple[Schedule, ...]:
        """`prewarm` as the plan reads it."""
        return tuple(Schedule(one.cron, one.zone, one.replicas, one.minutes) for one in self.prewarm)


class Hold(ApiModel):
    """What happens to requests while nothing is awake."""

    seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=60,
        description="Longest time in seconds a request is held, then it is answered 503. Absent: 60; 0: at once, and "
        "the request wakes the model all the same.",
    )
    heartbeat_seconds: Annotated[int, Field(ge=1, le=300)] = Field(
        default=10, description="Seconds between signs of life to a held streaming client. Absent: 10."
    )
    waiting: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=500,
        description="Most requests held at once. When it is full, the newest request of the tenant that holds most "
        "gives way to one that holds less; others are answered 429. Absent: 500; 0: none is held.",
    )


class InferencePoolSpec(ApiModel):
    """What is wanted of one model."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.engine.kind != 'Custom' || !has(self.warm) || !has(self.warm.asleep) || self.warm.asleep == 0",
            "an engine of kind Custom cannot sleep: set warm.asleep to 0 or use VLLM or SGLang",
            lambda s: s.engine.kind != "Custom" or s.warm.asleep == 0,
        ),
        Rule(
            "self.engine.kind != 'Custom' || !has(self.warm) || !has(self.warm.level) || self.warm.level != 'Spare'",
            "what an engine of kind Custom runs is not known: set warm.level to L1 or use VLLM or SGLang",
            lambda s: s.engine.kind != "Custom" or s.warm.level != "Spare",
        ),
        Rule(
            "self.variants.all(v, self.variants.exists_one(o, o.name == v.name))",
            "variant names must be unique: rename one of them",
            lambda s: len({v.name for v in s.variants}) == len(s.variants),
            ".variants",
        ),
    )
    model: ModelName = Field(description="Name of the model as clients send it in `model`.")
    aliases: Annotated[list[ModelName], Field(max_length=16, json_schema_extra=SET)] = Field(
        default_factory=list, description="Other names clients may send. Absent: none."
    )
    engine: Engine = Field(description="How a replica is run.")
    variants: Annotated[
        list[Variant], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))
    ] = Field(description="Ways to run the model, best first; at least one.")
    replicas: ReplicaRange = Field(
        default_factory=ReplicaRange, description="How many replicas are awake. Absent: between 0 and 1."
    )
    scaling: Scaling = Field(
        default_factory=Scaling, description="When another replica is woken. Absent: the defaults."
    )
    warm: Warm = Field(
        default_factory=Warm, description="What stays warm without requests. Absent: the defaults."
    )
    placement: Placement = Field(
        default_factory=Placement, description="Where engines run. Absent: the defaults."
    )
    template: Template = Field(
        default_factory=Template, description="What is added to each engine pod. Absent: nothing."
    )
    priority: Literal["High", "Normal", "Low"] = Field(
        default="Normal",
        description="Who gets memory and watts first. High needs the label ingle.dev/allow-high=true on the "
        "namespace. Absent: Normal.",
    )
    hold: Hold = Field(
        default_factory=Hold, description="How requests wait for a wake. Absent: the defaults."
    )


EngineState = Literal[
    "Pending",
    "Starting",
    "Awake",
    "Sleeping",
    "AsleepL1",
    "AsleepL2",
    "Spare",
    "Waking",
    "Stopping",
    "Failed",
]


class EngineStatus(ApiModel):
    """One engine pod."""

    pod: Name253 = Field(description="Name of the pod.")
    pod_uid: Uid | None = Field(default=None, description="UID of the pod. Absent: not known.")
    node: Name253 | None = Field(default=None, description="Node it runs on. Absent: not bound yet.")
    gpus: Annotated[list[GpuUuid], Field(max_length=16, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="UUIDs of its GPUs. Absent: not placed yet."
    )
    variant: Label63 = Field(description="Variant it runs.")
    revision: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Revision of the pool it was made from. Absent: not known."
    )
    state: EngineState = Field(description="What it is doing.")
    since: Timestamp | None = Field(default=None, description="Since when (RFC 3339). Absent: not known.")
    wake_milliseconds: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Duration of its last wake in ms. Absent: never woken."
    )
    start_milliseconds: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Duration of its start in ms. Absent: not started yet."
    )
    reason: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="Why it is not further, from docs/reasons.md. Absent: nothing is in the way.",
    )
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="The same for people. Absent: nothing to add."
    )


class ReplicaCounts(ApiModel):
    """Replicas by what they do."""

    awake: Annotated[int, Field(ge=0)] = Field(default=0, description="Replicas that take requests.")
    asleep: Annotated[int, Field(ge=0)] = Field(default=0, description="Replicas asleep.")
    starting: Annotated[int, Field(ge=0)] = Field(default=0, description="Replicas starting or waking.")
    wanted: Annotated[int, Field(ge=0)] = Field(default=0, description="Replicas that should be awake now.")


class LastGood(ApiModel):
    """What engines that started were made from, while the pool may have changed since."""

    revision: Annotated[str, Field(max_length=63)] = Field(description="Revision of those engines.")
    spec: Annotated[str, Field(max_length=LAST_GOOD_CHARS_MAX)] = Field(
        description="The parts of spec that make a revision, as JSON: lost engines are made anew from it while those of "
        "the changed pool do not start."
    )


class InferencePoolStatus(ApiModel):
    """What is."""

    observed_generation: Annotated[int, Field(ge=-1)] = Field(
        default=-1,
        description="metadata.generation this status is about; -1 from the first moment until the operator has seen "
        "the object. Absent: -1.",
    )
    revision: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Hash of what new engines are made from. Absent: not computed yet."
    )
    replicas: ReplicaCounts = Field(default_factory=ReplicaCounts, description="Replicas by what they do.")
    selector: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Label selector of the engine pods, for /scale. Absent: not written yet."
    )
    waiting: Annotated[int, Field(ge=0)] = Field(default=0, description="Requests held now. Absent: 0.")
    engines: Annotated[list[EngineStatus], Field(max_length=512, json_schema_extra=list_map("pod"))] = Field(
        default_factory=list, description="The engine pods. Absent: none."
    )
    demand_percent_by_hour: Annotated[list[Percent], Field(max_length=24, json_schema_extra=ATOMIC)] = Field(
        default_factory=list,
        description="For each hour of the day (UTC, 24 of them from 0:00) the percent of it in which a replica is "
        "wanted awake, averaged over days. Absent or empty: not known yet.",
    )
    last_good: LastGood | None = Field(
        default=None,
        description="What engines that started were made from last. Absent: none has started yet, or it is longer than "
        f"{LAST_GOOD_CHARS_MAX} characters, and then lost engines of an earlier revision are not made anew.",
    )
    conditions: Conditions = Field(default_factory=list, description="Accepted, Ready, Reconciling, Stalled.")
