"""Every rule of the CRDs: what it lets through, what it refuses, and what it then says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from ingle_kit.names import GPU_NODE, INFERENCE_POOL, POWER_BUDGET, ROUTING_POLICY, Kind
from ingle_kit.objects.base import ApiModel
from ingle_kit.objects.kinds import DEFINITIONS

Spec = dict[str, Any]
Change = Callable[[Spec], object]

POOL: Spec = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "aliases": ["llama-8b"],
    "engine": {
        "kind": "VLLM",
        "image": "vllm/vllm-openai:v0.14.0",
        "weights": {"claimName": "models", "path": "llama-8b", "sizeMiB": 15316},
    },
    "variants": [
        {
            "name": "bf16",
            "gpus": 1,
            "memoryMiB": {"awake": 42000, "asleep": 1600, "host": 17000},
            "watts": {"busy": 520, "idle": 95},
        }
    ],
    "replicas": {"min": 0, "max": 4},
    "template": {
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "volumes": [{"name": "cache", "mountPath": "/cache", "emptyDirMiB": 100}],
        "securityContext": {"runAsUser": 1000},
    },
}
POLICY: Spec = {"models": ["m"], "permissions": [{"name": "team-a", "allow": "'a' in user.groups"}]}
BUDGET: Spec = {"watts": 24000, "hostWatts": 900, "nodeSelector": {"matchLabels": {"row": "a"}}}
NODE: Spec = {"revision": 1, "gpus": [], "zones": [], "pods": []}
BASE: dict[Kind, Spec] = {INFERENCE_POOL: POOL, ROUTING_POLICY: POLICY, POWER_BUDGET: BUDGET, GPU_NODE: NODE}
MODELS = {definition.kind: definition.spec for definition in DEFINITIONS}


def at(path: str, value: Any) -> Change:
    """A change that sets the value at a dotted path; numbers are list indices."""

    def change(spec: Spec) -> None:
        node: Any = spec
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(part, str) else node[part]
        node[last] = value

    return change


@dataclass(frozen=True)
class Case:
    kind: Kind
    message: str
    good: Change
    bad: Change


def volume(**fields: Any) -> Change:
    return at("template.volumes", [{"name": "v", "mountPath": "/v", **fields}])


def env(**fields: Any) -> Change:
    return at("template.env", [{"name": "A", **fields}])


def gpu(uuid: str) -> Spec:
    return {"uuid": uuid, "allocatableMiB": 1, "floorWatts": 0, "claims": []}


def zone(number: int) -> Spec:
    return {"zone": number, "allocatableMiB": 1, "claims": []}


KEYS = "keys of ingle.dev, cdi.k8s.io and AppArmor are not a pool's to set: remove them from spec.template"
REF = {"name": "s", "key": "k"}
SECOND = {**POOL["variants"][0], "name": "int4"}

POOL_CASES = [
    Case(
        INFERENCE_POOL,
        "replicas.min must not be above replicas.max (1 where absent): lower min or raise max",
        at("replicas", {"min": 1}),
        at("replicas", {"min": 2}),
    ),
    Case(
        INFERENCE_POOL,
        "replicas.fixed must lie between replicas.min (0 where absent) and replicas.max (1 where absent)",
        at("replicas", {"fixed": 1}),
        at("replicas", {"min": 1, "max": 4, "fixed": 0}),
    ),
    Case(
        INFERENCE_POOL,
        "an engine of kind Custom cannot sleep: set warm.asleep to 0 or use VLLM or SGLang",
        lambda s: (at("engine.kind", "Custom")(s), at("warm.asleep", 0)(s)),
        lambda s: (at("engine.kind", "Custom")(s), at("warm.asleep", 1)(s)),
    ),
    Case(
        INFERENCE_POOL,
        "what an engine of kind Custom runs is not known: set warm.level to L1 or use VLLM or SGLang",
        lambda s: (at("engine.kind", "Custom")(s), at("warm", {"level": "L1"})(s)),
        lambda s: (at("engine.kind", "Custom")(s), at("warm", {"level": "Spare"})(s)),
    ),
    Case(
        INFERENCE_POOL,
        "memoryMiB.asleep must be less than memoryMiB.awake: sleeping gives memory back",
        at("variants.0.memoryMiB.asleep", 41999),
        at("variants.0.memoryMiB.asleep", 42000),
    ),
    Case(
        INFERENCE_POOL,
        "memoryMiB.kvCache is part of memoryMiB.awake: lower it or raise awake",
        at("variants.0.memoryMiB.kvCache", 20000),
        at("variants.0.memoryMiB.kvCache", 42000),
    ),
    Case(
        INFERENCE_POOL,
        "watts.idle must not be above watts.busy",
        at("variants.0.watts.idle", 520),
        at("variants.0.watts.idle", 521),
    ),
    Case(
        INFERENCE_POOL,
        "path stays inside the claim: remove '..'",
        at("engine.weights.path", "a/..b"),
        at("engine.weights.path", "a/../b"),
    ),
]
TEMPLATE_CASES = [
    Case(
        INFERENCE_POOL,
        "set exactly one of value and valueFrom",
        env(valueFrom={"secretKeyRef": REF}),
        env(value="1", valueFrom={"secretKeyRef": REF}),
    ),
    Case(
        INFERENCE_POOL,
        "set exactly one of secretKeyRef and configMapKeyRef",
        env(valueFrom={"configMapKeyRef": REF}),
        env(valueFrom={}),
    ),
    Case(
        INFERENCE_POOL,
        "this variable is set by Ingle, which chooses the GPUs: remove it from spec.template.env",
        env(value="1"),
        env(name="NVIDIA_VISIBLE_DEVICES", value="all"),
    ),
    Case(
        INFERENCE_POOL,
        "the volumes shm and weights are made by Ingle (sharedMemoryMiB, spec.engine.weights): rename this one",
        volume(secretName="s"),
        volume(name="weights", secretName="s"),
    ),
    Case(
        INFERENCE_POOL,
        "hostPath would open the node to the engine: use claimName, secretName, configMapName or emptyDirMiB",
        volume(configMapName="c"),
        volume(hostPath="/"),
    ),
    Case(
        INFERENCE_POOL,
        "set exactly one of claimName, secretName, configMapName and emptyDirMiB",
        volume(claimName="c"),
        volume(claimName="c", secretName="s"),
    ),
    Case(
        INFERENCE_POOL,
        "engines are never privileged: remove spec.template.securityContext.privileged",
        at("template.securityContext", {"fsGroup": 1}),
        at("template.securityContext", {"privileged": True}),
    ),
    Case(
        INFERENCE_POOL,
        f"{KEYS}.labels",
        at("template.labels", {"team": "a"}),
        at("template.labels", {"ingle.dev/pool": "b"}),
    ),
    Case(
        INFERENCE_POOL,
        f"{KEYS}.annotations",
        at("template.annotations", {"example.com/a": "b"}),
        at("template.annotations", {"cdi.k8s.io/gpus": "nvidia.com/gpu=all"}),
    ),
    *(
        Case(
            INFERENCE_POOL,
            f"{why}: remove spec.template.{field}",
            at("template.sharedMemoryMiB", 1),
            at(f"template.{field}", value),
        )
        for field, value, why in (
            ("hostNetwork", True, "an engine has its own network"),
            ("hostPID", True, "an engine sees its own processes only"),
            ("hostIPC", True, "an engine has its own shared memory (see sharedMemoryMiB)"),
            ("nodeName", "gpu-1", "the node is chosen by the scheduler (see spec.placement.nodeSelector)"),
            ("schedulerName", "mine", "engines are placed by Ingle's scheduler"),
        )
    ),
]
OTHER_CASES = [
    Case(
        ROUTING_POLICY,
        "set exactly one of allow and deny; for both, write two permissions",
        at("permissions.0", {"name": "a", "deny": "true"}),
        at("permissions.0", {"name": "a", "allow": "true", "deny": "true"}),
    ),
    Case(
        GPU_NODE,
        "a GPU stands twice in gpus: remove one entry",
        at("gpus", [gpu("a"), gpu("b")]),
        at("gpus", [gpu("a"), gpu("a")]),
    ),
    Case(
        GPU_NODE,
        "a NUMA zone stands twice in zones: remove one entry",
        at("zones", [zone(0), zone(1)]),
        at("zones", [zone(0), zone(0)]),
    ),
]
CASES = [*POOL_CASES, *TEMPLATE_CASES, *OTHER_CASES]


def changed(kind: Kind, change: Change) -> Spec:
    spec = copy.deepcopy(BASE[kind])
    change(spec)
    return spec


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.message)
def test_a_rule_lets_good_through_and_says_what_to_change_in_bad(server: Any, case: Case) -> None:
    good, bad = changed(case.kind, case.good), changed(case.kind, case.bad)
    assert server.refusal(case.kind, good) is None
    MODELS[case.kind].model_validate(good)
    refused = server.refusal(case.kind, bad)
    assert refused is not None
    assert refused.status == 422
    assert case.message in refused.message
    with pytest.raises(ValidationError) as problem:
        MODELS[case.kind].model_validate(bad)
    assert case.message in str(problem.value)


def test_every_rule_has_a_case() -> None:
    def rules(model: type[ApiModel]) -> set[str]:
        own = {rule.message for rule in model.rules if rule.check is not None}
        return own.union(*(rules(child) for child in model.__subclasses__()))

    assert rules(ApiModel) - {case.message for case in CASES} == {
        "variant names must be unique: rename one of them"
    }


def test_variant_names_are_unique(server: Any) -> None:
    assert (
        server.refusal(INFERENCE_POOL, changed(INFERENCE_POOL, lambda s: s["variants"].append(SECOND)))
        is None
    )
    twice = changed(INFERENCE_POOL, lambda s: s["variants"].append(s["variants"][0]))
    refused = server.refusal(INFERENCE_POOL, twice)
    assert refused is not None
    assert "variant names must be unique: rename one of them" in refused.message
    with pytest.raises(ValidationError, match="variants has the same entry twice"):
        MODELS[INFERENCE_POOL].model_validate(twice)


def test_a_pool_name_leaves_room_for_pod_names(server: Any) -> None:
    assert server.refusal(INFERENCE_POOL, POOL, name="a" * 52) is None
    refused = server.refusal(INFERENCE_POOL, POOL, name="a" * 53)
    assert "the name of an InferencePool has at most 52 characters" in refused.message


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        (INFERENCE_POOL, at("variants", []), "spec.variants"),
        (INFERENCE_POOL, at("warm.keepAlive", "Greedy"), "spec.warm.keepAlive"),
        (INFERENCE_POOL, at("warm.prewarm", [{"cron": "0 7 * *"}]), "spec.warm.prewarm[0].cron"),
        (
            INFERENCE_POOL,
            at("warm.prewarm", [{"cron": "0 7 * * *", "zone": "?"}]),
            "spec.warm.prewarm[0].zone",
        ),
        (INFERENCE_POOL, at("replicas.max", 1000), "spec.replicas.max"),
        (POWER_BUDGET, at("watts", 0), "spec.watts"),
        (ROUTING_POLICY, at("models", []), "spec.models"),
        (INFERENCE_POOL, at("replicas.maximum", 3), 'unknown field "spec.replicas.maximum"'),
        (INFERENCE_POOL, at("template.volumes.0.nfs", {}), 'unknown field "spec.template.volumes[0].nfs"'),
    ],
)
def test_what_is_out_of_range_or_unknown_is_named(server: Any, kind: Kind, change: Change, says: str) -> None:
    assert says in server.refusal(kind, changed(kind, change)).message


@pytest.mark.parametrize("kind", BASE, ids=lambda k: k.kind)
def test_the_examples_of_this_file_are_accepted(server: Any, kind: Kind) -> None:
    assert server.refusal(kind, BASE[kind]) is None
