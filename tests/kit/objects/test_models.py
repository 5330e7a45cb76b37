"""Kubernetes JSON in and out of the models, conditions, times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingle_kit.objects import (
    Condition,
    GPUNodeSpec,
    GpuStatus,
    InferencePoolSpec,
    dump,
    faults,
    find,
    timestamp,
    timestamp_s,
    with_condition,
)

POOL = {
    "model": "m",
    "engine": {"kind": "VLLM", "image": "i"},
    "variants": [
        {
            "name": "v",
            "gpus": 1,
            "memoryMiB": {"awake": 3, "asleep": 1, "host": 2, "kvCache": 1},
            "watts": {"busy": 5, "idle": 1},
        }
    ],
}


def test_what_is_wrong_is_told_with_the_path_that_the_api_server_would_write() -> None:
    cron = {"cron": "61 7 * * *", "zone": "UTC", "replicas": 1}
    with pytest.raises(ValidationError) as raised:
        InferencePoolSpec.model_validate(POOL | {"warm": {"prewarm": [cron]}})
    (said,) = faults(raised.value)
    assert said.startswith("spec.warm.prewarm[0].cron: Bad minute in '61 7 * * *'")


def condition(status: str, at: str, reason: str = "Serving") -> Condition:
    return Condition.model_validate(
        {"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": at}
    )


def test_a_smallest_pool_gets_the_documented_defaults() -> None:
    spec = InferencePoolSpec.model_validate(POOL)
    assert (spec.replicas.min, spec.replicas.max, spec.replicas.fixed) == (0, 1, None)
    assert (spec.hold.seconds, spec.hold.heartbeat_seconds, spec.hold.waiting) == (60, 10, 500)
    assert (spec.warm.idle_seconds, spec.engine.port, spec.engine.start_seconds) == (120, 8000, 300)
    assert spec.variants[0].memory_mib.kv_cache == 1


def test_names_are_camel_case_with_units_as_kubernetes_writes_them() -> None:
    status = GpuStatus.model_validate(
        {"uuid": "g", "index": 0, "product": "p", "memoryMiB": {"total": 2, "free": 1}, "nvlinkPeers": ["h"]}
    )
    assert dump(status) == {
        "uuid": "g",
        "index": 0,
        "product": "p",
        "memoryMiB": {"total": 2, "reserved": 0, "free": 1, "foreign": 0},
        "nvlinkPeers": ["h"],
        "watts": {},
        "mig": False,
        "health": "Healthy",
    }


def test_what_is_absent_stays_absent_and_unknown_fields_are_ignored() -> None:
    spec = GPUNodeSpec.model_validate({"revision": 1, "later": 5})
    assert dump(spec) == {"revision": 1, "gpus": [], "zones": [], "pods": []}


def test_models_do_not_change() -> None:
    spec = GPUNodeSpec(revision=1)
    with pytest.raises(ValidationError):
        spec.revision = 2


def test_the_transition_time_moves_only_with_the_status() -> None:
    early, late = timestamp(1_000), timestamp(2_000)
    first = with_condition([], condition("False", early, "Asleep"))
    same = with_condition(first, condition("False", late, "Idle"))
    assert [(c.reason, c.last_transition_time) for c in same] == [("Idle", early)]
    turned = with_condition(same, condition("True", late))
    assert [(c.reason, c.last_transition_time) for c in turned] == [("Serving", late)]


def test_conditions_keep_their_order_and_are_found_by_type() -> None:
    accepted = condition("True", timestamp(0)).model_copy(update={"type": "Accepted"})
    both = with_condition([accepted], condition("True", timestamp(0)))
    assert [c.type for c in with_condition(both, accepted)] == ["Accepted", "Ready"]
    assert find(both, "Ready") == both[1]
    assert find(both, "Stalled") is None


@given(st.integers(0, 4_000_000_000))
def test_times_survive_the_way_out_and_back(at_s: int) -> None:
    assert timestamp_s(timestamp(at_s)) == at_s


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        timestamp_s(text)
