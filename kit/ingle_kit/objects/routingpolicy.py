"""RoutingPolicy: who may use which models, and what answers when a pool cannot."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ingle_kit.objects.base import SET, ApiModel, Expression, Label63, ModelName, Name253, Rule, list_map
from ingle_kit.objects.conditions import Conditions


class Permission(ApiModel):
    """One rule about callers. All rules are read; deny wins, no matching allow denies, an error denies."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.allow) != has(self.deny)",
            "set exactly one of allow and deny; for both, write two permissions",
            lambda s: (s.allow is None) != (s.deny is None),
        ),
    )
    name: Label63 = Field(description="Name of the rule, unique in the policy; a refused caller is told it.")
    allow: Expression | None = Field(
        default=None,
        description="CEL that allows when true, over user.name, user.groups, request.model and request.path, for "
        "example: 'team-a' in user.groups. Absent: this rule denies.",
    )
    deny: Expression | None = Field(
        default=None, description="CEL that denies when true or when it fails. Absent: this rule allows."
    )


class Fallback(ApiModel):
    """What answers when the pool of a model cannot."""

    pool: Name253 = Field(
        description="An InferencePool in the same namespace. The caller must be allowed to use its model too."
    )
    others: Annotated[list[Name253], Field(max_length=8, json_schema_extra=SET)] = Field(
        default_factory=list,
        description="More such pools. An awake one answers, the first named if several are; if none is, the one that "
        "wakes soonest. Absent or empty: only `pool`.",
    )
    when: Literal["Unable", "Sooner"] = Field(
        default="Unable",
        description="Unable: they answer only where the pool asked for cannot (no memory, no watts, stalled, waiting "
        "room full). Sooner: also where it sleeps and one of them is awake or wakes sooner. Absent: Unable.",
    )


class RoutingPolicySpec(ApiModel):
    """Who may use which models."""

    models: Annotated[list[ModelName], Field(min_length=1, max_length=64, json_schema_extra=SET)] = Field(
        description="Models this policy decides about, named as clients send them; at least one."
    )
    permissions: Annotated[list[Permission], Field(max_length=64, json_schema_extra=list_map("name"))] = (
        Field(
            default_factory=list,
            description="Rules about callers. Absent or empty: nobody may use these models.",
        )
    )
    fallback: Fallback | None = Field(
        default=None,
        description="What answers when the pool cannot. Absent: the request is held, then refused.",
    )


class RoutingPolicyStatus(ApiModel):
    """Whether the policy is in force."""

    observed_generation: Annotated[int, Field(ge=-1)] = Field(
        default=-1,
        description="metadata.generation this status is about; -1 from the first moment until the operator has seen "
        "the object. Absent: -1.",
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="Accepted (False: InvalidExpression, PoolNotFound, Conflicted; the policy then denies), Ready.",
    )
