"""Pieces of the chart's values that occur more than once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=63)]
OptionalName = Annotated[str, StringConstraints(pattern=rf"{NAME}|^$", max_length=63)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
Cpu = Annotated[str, StringConstraints(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$")]
Memory = Annotated[str, StringConstraints(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)$")]
Cidr = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
Repository = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$")
]
Labels = dict[LabelKey, LabelValue]
Annotations = dict[LabelKey, str]


class Part(BaseModel):
    """Keys are camelCase; an unknown key is an error."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Image(Part):
    repository: Repository
    tag: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}$|^$")] = ""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$|^$")] = Field(
        "", description="Pins the image; goes before the tag."
    )


class Amounts(Part):
    cpu: Cpu | None = None
    memory: Memory | None = None


class Resources(Part):
    requests: Amounts
    limits: Amounts


class Toleration(Part):
    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(None, ge=0)


def sized(cpu: str, memory: str, memory_max: str) -> Resources:
    """A request of both, a limit of memory alone: a limit of CPU slows down what is urgent."""
    return Resources(requests=Amounts(cpu=cpu, memory=memory), limits=Amounts(memory=memory_max))


class Where(Part):
    """Where the pods of a process run."""

    node_selector: Labels = Field({}, description="Labels of the nodes that may run it.")
    tolerations: list[Toleration] = Field([], description="Taints that it bears.")
    priority_class_name: OptionalName = Field(
        "system-cluster-critical", description="Priority class. Empty: the cluster's default."
    )


Settings = dict[str, Any]
