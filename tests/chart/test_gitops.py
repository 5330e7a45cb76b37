"""What Argo CD (by our Lua scripts) and Helm and Flux (by the real kstatus) think of our objects."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from ingle_kit.objects import Condition, Reason
from ingle_lab.helm import built_folder

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"
KINDS = ("InferencePool", "RoutingPolicy", "PowerBudget")
KEPT = ("ipairs", "pairs", "tostring", "tonumber", "type", "table")
"""What a script finds in Argo CD beyond the language itself."""


def objects(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GITOPS / path).read_text()))


def health(kind: str, obj: dict[str, Any]) -> tuple[str, str]:
    """Status and message by the script for a kind."""
    script = objects("argocd/health.yaml")[0]["data"][f"resource.customizations.health.ingle.dev_{kind}"]
    lua = LuaRuntime(unpack_returned_tuples=True)
    for name in list(lua.globals()):
        if name not in KEPT:
            lua.globals()[name] = None
    lua.globals()["obj"] = lua.table_from(obj, recursive=True)
    answer = lua.execute(script)
    return answer["status"], answer["message"]


def kstatus(*found: dict[str, Any]) -> list[str]:
    binary = built_folder() / "kstatus"
    done = subprocess.run(
        [str(binary)], input=json.dumps({"items": found}), capture_output=True, text=True, check=True
    )
    return [verdict["status"] for verdict in json.loads(done.stdout)]


def seen(
    kind: str, *, generation: int = 3, observed: int = 3, **conditions: tuple[str, Reason, str]
) -> dict[str, Any]:
    """An object whose operator wrote these conditions."""
    wrote = [
        Condition(
            type=name.capitalize(),
            status=status,
            reason=reason.value,
            message=message,
            observed_generation=observed,
            last_transition_time="2026-01-01T00:00:00Z",
        ).model_dump(by_alias=True, exclude_none=True)
        for name, (status, reason, message) in conditions.items()
    ]
    return {
        "apiVersion": "ingle.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "it", "generation": generation},
        "status": {"observedGeneration": observed, "conditions": wrote},
    }


FINE = {
    "accepted": ("True", Reason.ACCEPTED, ""),
    "reconciling": ("False", Reason.RECONCILED, ""),
    "stalled": ("False", Reason.RECONCILED, ""),
}
UNDER_WAY = {"reconciling": ("True", Reason.PROGRESSING, "")}
TOO_BIG = ("False", Reason.VARIANT_FITS_NO_GPU, "the largest GPU here has 40000 MiB")

OUTCOMES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "serving": (
        seen("InferencePool", **FINE, ready=("True", Reason.SERVING, "")),
        "Healthy",
        "Serving",
        "Current",
    ),
    "asleep": (
        seen("InferencePool", **FINE, ready=("True", Reason.ASLEEP, "")),
        "Healthy",
        "Asleep",
        "Current",
    ),
    "serving while another engine wakes": (
        seen("InferencePool", **FINE | UNDER_WAY, ready=("True", Reason.SERVING, "")),
        "Healthy",
        "Serving",
        "InProgress",
    ),
    "starting": (
        seen(
            "InferencePool",
            **FINE | UNDER_WAY,
            ready=("False", Reason.ENGINE_STARTING, "an engine is starting"),
        ),
        "Progressing",
        "EngineStarting: an engine is starting",
        "InProgress",
    ),
    "waits for a node": (
        seen(
            "InferencePool", **FINE, ready=("False", Reason.AWAITING_PLACEMENT, "an engine waits for a node")
        ),
        "Progressing",
        "AwaitingPlacement: an engine waits for a node",
        "InProgress",
    ),
    "too big": (
        seen(
            "InferencePool", **FINE | {"stalled": ("True", *TOO_BIG[1:]), "accepted": TOO_BIG}, ready=TOO_BIG
        ),
        "Degraded",
        "VariantFitsNoGPU: the largest GPU here has 40000 MiB",
        "Failed",
    ),
    "engines fail": (
        seen(
            "InferencePool",
            **FINE | {"stalled": ("True", Reason.ENGINE_NEVER_READY, "3 engines failed in a row")},
            ready=("False", Reason.ENGINE_NEVER_READY, "it ended"),
        ),
        "Degraded",
        "EngineNeverReady: 3 engines failed in a row",
        "Failed",
    ),
    "changed and not seen yet": (
        seen("InferencePool", generation=4, **FINE, ready=("True", Reason.SERVING, "")),
        "Progressing",
        "Ingle's operator has not seen this version yet",
        "InProgress",
    ),
    "a policy in force": (
        seen("RoutingPolicy", **FINE, ready=("True", Reason.ACCEPTED, "")),
        "Healthy",
        "Accepted",
        "Current",
    ),
    "a policy that denies": (
        seen(
            "RoutingPolicy",
            accepted=("False", Reason.POOL_NOT_FOUND, "no pool serves x"),
            ready=("False", Reason.POOL_NOT_FOUND, "no pool serves x"),
            reconciling=("False", Reason.RECONCILED, ""),
            stalled=("True", Reason.POOL_NOT_FOUND, "no pool serves x"),
        ),
        "Degraded",
        "PoolNotFound: no pool serves x",
        "Failed",
    ),
    "a budget that holds": (
        seen("PowerBudget", **FINE, ready=("True", Reason.WITHIN_CAP, "")),
        "Healthy",
        "WithinCap",
        "Current",
    ),
    "a budget on the way down": (
        seen("PowerBudget", **FINE | UNDER_WAY, ready=("False", Reason.LOWERING, "gpu-1 has yet to fall")),
        "Progressing",
        "Lowering: gpu-1 has yet to fall",
        "InProgress",
    ),
    "a budget too low": (
        seen(
            "PowerBudget",
            accepted=("False", Reason.BELOW_MINIMUM_LIMITS, "needs 6700 W"),
            ready=("False", Reason.BELOW_MINIMUM_LIMITS, "needs 6700 W"),
            reconciling=("False", Reason.RECONCILED, ""),
            stalled=("True", Reason.BELOW_MINIMUM_LIMITS, "needs 6700 W"),
        ),
        "Degraded",
        "BelowMinimumLimits: needs 6700 W",
        "Failed",
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_argo_cd_tells_how_an_object_is(outcome: str) -> None:
    obj, status, message, _ = OUTCOMES[outcome]
    assert health(obj["kind"], obj) == (status, message)


def test_helm_and_flux_tell_it_by_kstatus() -> None:
    verdicts = kstatus(*(obj for obj, _, _, _ in OUTCOMES.values()))
    assert dict(zip(OUTCOMES, verdicts, strict=True)) == {name: case[3] for name, case in OUTCOMES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_nobody_has_seen_is_progressing(kind: str) -> None:
    new = {"kind": kind, "metadata": {"name": "it", "generation": 1}}
    assert health(kind, new)[0] == "Progressing"
    assert health(kind, {**new, "status": {"observedGeneration": 1}}) == ("Progressing", "NotObserved")
    begun = {
        **new,
        "apiVersion": "ingle.dev/v1alpha1",
        "status": {"observedGeneration": -1},
    }  # by the kind's default
    assert health(kind, begun)[0] == "Progressing"
    assert kstatus(begun) == ["InProgress"]


def test_waves_put_first_what_others_need() -> None:
    waves = {
        obj["kind"]: int(obj["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for obj in objects("cluster/objects.yaml")
    }
    assert sorted(waves, key=lambda kind: waves[kind]) == [
        "Namespace",
        "PowerBudget",
        "InferencePool",
        "RoutingPolicy",
    ]
    assert len(set(waves.values())) == len(waves)


def test_values_of_the_examples_render(helm: Any) -> None:
    argo = objects("argocd/applications.yaml")[0]["spec"]
    assert argo["destination"]["namespace"] == "ingle-system"
    assert helm.render(argo["source"]["helm"]["valuesObject"]).one("NetworkPolicy", "ingle-engines", "chat")
    flux = objects("flux/ingle.yaml")[0]
    assert flux["metadata"]["namespace"] == "ingle-system"
    assert helm.render(flux["spec"]["values"]).one("NetworkPolicy", "ingle-engines", "chat")
