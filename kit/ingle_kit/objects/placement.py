"""Where engines may run, and what a pool prefers among the places that fit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ingle_kit.objects.base import ApiModel, LabelValue

Affinity = Literal["Required", "Preferred", "None"]
WeightPercent = Annotated[int, Field(ge=0, le=1000)]


class ScorerPercent(ApiModel):
    """Weight of each scorer in percent of its usual weight; scorers only choose among places that fit."""

    full: WeightPercent = Field(default=100, description="Fuller GPUs, with strategy Pack. Absent: 100.")
    unfragmented: WeightPercent = Field(
        default=100,
        description="GPUs on which less memory becomes useless to the pools there are, with strategy Pack. Absent: 100.",
    )
    empty: WeightPercent = Field(default=100, description="Emptier GPUs, with strategy Spread. Absent: 100.")
    near_host: WeightPercent = Field(
        default=100, description="GPUs whose own NUMA zone has host memory for the sleeper. Absent: 100."
    )
    room_to_wake: WeightPercent = Field(
        default=100,
        description="GPUs whose other models are seldom wanted at the same time. Absent: 100.",
    )
    same_links: WeightPercent = Field(
        default=100,
        description="Nodes with enough GPUs linked by NVLink, with nvlink Preferred. Absent: 100.",
    )
    same_zone: WeightPercent = Field(
        default=100, description="Nodes with enough GPUs in one NUMA zone, with numa Preferred. Absent: 100."
    )
    warm: WeightPercent = Field(
        default=100, description="Nodes that have the weights or the compile cache on disk. Absent: 100."
    )
    free_nic: WeightPercent = Field(
        default=100, description="Nodes on which few engines load their weights now. Absent: 100."
    )


class Placement(ApiModel):
    """Where engines may run."""

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict, description="Labels a node must have. Absent or empty: any node with GPUs."
    )
    numa: Affinity = Field(
        default="Preferred",
        description="Whether the GPUs of a replica share one NUMA zone. Absent: Preferred.",
    )
    nvlink: Affinity = Field(
        default="Preferred",
        description="Whether the GPUs of a replica are linked by NVLink. Absent: Preferred.",
    )
    strategy: Literal["Pack", "Spread"] = Field(
        default="Pack",
        description="Pack fills GPUs that are in use first, Spread the emptiest. Absent: Pack.",
    )
    scorer_percent: ScorerPercent = Field(
        default_factory=ScorerPercent,
        description="How much each preference counts among the places that fit, in percent of its usual weight; 0: not"
        " at all. A change counts for new engines and replaces none. Absent: all as usual.",
    )

    @property
    def changed_percent(self) -> dict[str, int]:
        """The scorers whose weight is not the usual one, by their name in the API."""
        usual = ScorerPercent().model_dump(by_alias=True)
        mine = self.scorer_percent.model_dump(by_alias=True)
        return {name: percent for name, percent in mine.items() if percent != usual[name]}
