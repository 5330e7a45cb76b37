"""PowerBudget: watts that a group of nodes may use together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ingle_kit.objects.base import ApiModel, LabelValue, Watts
from ingle_kit.objects.conditions import Conditions


class NodeSelector(ApiModel):
    """Which nodes the budget covers."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(
        default_factory=dict, description="Labels a node must have. Absent or empty: every node with GPUs."
    )


class PowerBudgetSpec(ApiModel):
    """How much the selected nodes may draw together."""

    node_selector: NodeSelector = Field(
        default_factory=NodeSelector, description="Which nodes are covered. Absent: every node with GPUs."
    )
    watts: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        description="Watts the selected nodes may draw together, hosts included; at least 1."
    )
    mode: Literal["Guaranteed"] = Field(
        default="Guaranteed",
        description="Guaranteed: the limits that GPU firmware enforces never add up to more than the cap. "
        "Absent: Guaranteed.",
    )
    host_watts: Watts = Field(
        default=0,
        description="Watts each node draws beside its GPUs (CPUs, fans), set aside for it. Absent: 0.",
    )


BudgetState = Literal["Normal", "Lowering", "BelowMinimumLimits"]


class PowerBudgetStatus(ApiModel):
    """What is guaranteed and drawn now."""

    observed_generation: Annotated[int, Field(ge=-1)] = Field(
        default=-1,
        description="metadata.generation this status is about; -1 from the first moment until the operator has seen "
        "the object. Absent: -1.",
    )
    cap_watts: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Watts guaranteed now; after a cut it falls only when the lower limits were read back. "
        "Absent: nothing is guaranteed yet.",
    )
    draw_watts: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Watts the nodes draw (GPUs measured, hosts as set). Absent: not measured."
    )
    allotted_watts: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Watts handed out to nodes, hosts included. Absent: none yet."
    )
    nodes: Annotated[int, Field(ge=0)] = Field(default=0, description="Nodes covered.")
    state: BudgetState | None = Field(
        default=None,
        description="Normal; Lowering while limits come down; BelowMinimumLimits where the cap cannot be reached. "
        "Absent: not computed yet.",
    )
    conditions: Conditions = Field(default_factory=list, description="Accepted, Ready, Reconciling, Stalled.")
