"""Our kinds: their models, and what `kubectl` shows of them."""

from __future__ import annotations

from dataclasses import dataclass

from ingle_kit import names
from ingle_kit.objects.base import ApiModel, Rule
from ingle_kit.objects.gpunode import GPUNodeSpec, GPUNodeStatus
from ingle_kit.objects.inferencepool import InferencePoolSpec, InferencePoolStatus
from ingle_kit.objects.powerbudget import PowerBudgetSpec, PowerBudgetStatus
from ingle_kit.objects.routingpolicy import RoutingPolicySpec, RoutingPolicyStatus


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; priority 1 shows it only with `-o wide`."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0


@dataclass(frozen=True)
class Definition:
    """One kind: its models and what `kubectl` shows of it."""

    kind: names.Kind
    short_name: str
    description: str
    spec: type[ApiModel]
    status: type[ApiModel]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    scale: dict[str, str] | None = None


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since it was made.")

INFERENCE_POOL = Definition(
    names.INFERENCE_POOL,
    "ipool",
    "One model: how its engines run, and how many are awake, asleep or gone.",
    InferencePoolSpec,
    InferencePoolStatus,
    (
        Column("Model", "string", ".spec.model", "Name that clients send."),
        Column("Awake", "integer", ".status.replicas.awake", "Replicas that take requests."),
        Column("Wanted", "integer", ".status.replicas.wanted", "Replicas that should be awake."),
        Column("Asleep", "integer", ".status.replicas.asleep", "Replicas asleep."),
        Column("Min", "integer", ".spec.replicas.min", "Replicas always awake."),
        Column("Max", "integer", ".spec.replicas.max", "Most replicas awake."),
        Column("Waiting", "integer", ".status.waiting", "Requests held now."),
        Column("Ready", "string", _condition("Ready", "status"), "Whether it does what was asked."),
        Column("Reason", "string", _condition("Ready", "reason"), "Why; see docs/reasons.md."),
        Column("Message", "string", _condition("Ready", "message"), "Why, for people.", 1),
        _AGE,
    ),
    (
        Rule(
            "size(self.metadata.name) <= 52",
            "the name of an InferencePool has at most 52 characters, as pod names are made from it: shorten it",
        ),
    ),
    {
        "specReplicasPath": ".spec.replicas.fixed",
        "statusReplicasPath": ".status.replicas.awake",
        "labelSelectorPath": ".status.selector",
    },
)

ROUTING_POLICY = Definition(
    names.ROUTING_POLICY,
    "rpol",
    "Who may use which models of its namespace, and what answers when a pool cannot.",
    RoutingPolicySpec,
    RoutingPolicyStatus,
    (
        Column("Models", "string", ".spec.models", "Models it decides about."),
        Column("Fallback", "string", ".spec.fallback.pool", "Pool that answers when the model's cannot."),
        Column("Accepted", "string", _condition("Accepted", "status"), "Whether it is in force."),
        Column("Reason", "string", _condition("Accepted", "reason"), "Why; see docs/reasons.md."),
        Column("Message", "string", _condition("Accepted", "message"), "Why, for people.", 1),
        _AGE,
    ),
)

POWER_BUDGET = Definition(
    names.POWER_BUDGET,
    "pbud",
    "Watts that a group of nodes may use together.",
    PowerBudgetSpec,
    PowerBudgetStatus,
    (
        Column("Watts", "integer", ".spec.watts", "Watts asked for."),
        Column("Cap", "integer", ".status.capWatts", "Watts guaranteed now."),
        Column("Allotted", "integer", ".status.allottedWatts", "Watts handed out to nodes."),
        Column("Draw", "integer", ".status.drawWatts", "Watts drawn now."),
        Column("Nodes", "integer", ".status.nodes", "Nodes covered."),
        Column("State", "string", ".status.state", "Normal, Lowering or BelowMinimumLimits."),
        Column("Message", "string", _condition("Ready", "message"), "Why, for people.", 1),
        _AGE,
    ),
)

GPU_NODE = Definition(
    names.GPU_NODE,
    "gpun",
    "One node with GPUs: who holds which memory and watts, and what its agent reads. Nobody writes it by hand.",
    GPUNodeSpec,
    GPUNodeStatus,
    (
        Column("Product", "string", ".status.gpus[0].product", "Product of its first GPU."),
        Column("Revision", "integer", ".spec.revision", "Changes of the ledger so far."),
        Column("Allotted", "integer", ".spec.wattsAllotted", "Watts its GPUs may be limited to."),
        Column("Safe", "integer", ".spec.wattsSafe", "Watts without the operator.", 1),
        Column("Ready", "string", _condition("Ready", "status"), "Whether its agent reports."),
        Column("Reason", "string", _condition("Ready", "reason"), "Why; see docs/reasons.md."),
        Column("Heartbeat", "date", ".status.heartbeatAt", "Time since its agent last wrote."),
        _AGE,
    ),
)

DEFINITIONS = (INFERENCE_POOL, ROUTING_POLICY, POWER_BUDGET, GPU_NODE)
