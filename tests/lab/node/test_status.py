"""Phases, conditions and patches of a pod's status."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_kit.kube import Object
from ingle_lab.node.admission import Refusal
from ingle_lab.node.status import ContainerFacts, PodFacts, phase_of, status_of, status_patch

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
RUNNING: Object = {"running": {"startedAt": NOW}}
WAITING: Object = {"waiting": {"reason": "ContainerCreating"}}


def ended(code: int) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}


def container(state: Object, *, last: Object | None = None, ready: bool = False) -> ContainerFacts:
    return ContainerFacts("main", "image", state, last or {}, 0, ready, ready, "")


def facts(*main: ContainerFacts, init: tuple[ContainerFacts, ...] = (), **more: Any) -> PodFacts:
    fields: dict[str, Any] = {"refusal": None, "ended": False} | more
    return PodFacts(init, main, started_at=NOW, address="127.1.0.2", host_address="127.1.0.1", **fields)


def pod(gates: tuple[str, ...] = (), conditions: tuple[Object, ...] = (), policy: str = "Always") -> Object:
    spec = {"restartPolicy": policy, "readinessGates": [{"conditionType": gate} for gate in gates]}
    return {"spec": spec, "status": {"conditions": list(conditions)}}


def ready_of(status: Object) -> Object:
    found: Object = next(c for c in status["conditions"] if c["type"] == "Ready")
    return found


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", [WAITING], "Pending"),
        ("Always", [RUNNING], "Running"),
        ("Always", [ended(1)], "Running"),
        ("Always", [ended(0)], "Running"),
        ("OnFailure", [ended(1)], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(137)], "Failed"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [ended(1), RUNNING], "Running"),
    ],
)
def test_the_phase_follows_the_containers_and_the_policy(
    policy: str, states: list[Object], phase: str
) -> None:
    assert phase_of(facts(*(container(state) for state in states)), policy) == phase


def test_a_container_that_waits_to_restart_keeps_the_pod_running() -> None:
    assert phase_of(facts(container(WAITING, last=ended(1))), "Always") == "Running"


def test_a_pod_is_pending_until_its_init_containers_are_done_and_fails_with_them() -> None:
    for state, policy, phase in (
        (RUNNING, "Never", "Pending"),
        (ended(1), "Never", "Failed"),
        (ended(1), "OnFailure", "Pending"),
    ):
        assert phase_of(facts(container(WAITING), init=(container(state),)), policy) == phase


def test_a_pod_that_was_stopped_is_over_whatever_its_policy() -> None:
    assert phase_of(facts(container(ended(0)), ended=True), "Always") == "Succeeded"
    assert phase_of(facts(container(ended(143)), ended=True), "Always") == "Failed"
    assert phase_of(facts(container(WAITING), ended=True), "Always") == "Failed"


def test_a_missing_and_a_false_gate_are_both_named() -> None:
    running = facts(container(RUNNING, ready=True))
    missing = ready_of(status_of(pod(("a/b",)), running, NOW))
    assert (missing["status"], missing["reason"]) == ("False", "ReadinessGatesNotReady")
    assert 'gate "a/b" does not exist' in missing["message"]
    closed = pod(("a/b",), ({"type": "a/b", "status": "False"},))
    assert 'not "True", but False' in ready_of(status_of(closed, running, NOW))["message"]
    opened = pod(("a/b",), ({"type": "a/b", "status": "True"},))
    assert ready_of(status_of(opened, running, NOW))["status"] == "True"


def test_an_open_gate_does_not_make_an_unready_container_ready() -> None:
    opened = pod(("a/b",), ({"type": "a/b", "status": "True"},))
    assert ready_of(status_of(opened, facts(container(RUNNING)), NOW))["reason"] == "ContainersNotReady"


def test_a_transition_time_changes_only_with_the_status() -> None:
    first = status_of(pod(), facts(container(RUNNING)), NOW)
    same = status_of({"spec": {}, "status": first}, facts(container(RUNNING)), LATER)
    assert ready_of(same)["lastTransitionTime"] == NOW
    changed = status_of({"spec": {}, "status": first}, facts(container(RUNNING, ready=True)), LATER)
    assert ready_of(changed)["lastTransitionTime"] == LATER


def test_a_refusal_is_failed_with_its_reason() -> None:
    status = status_of(pod(), facts(container(WAITING), refusal=Refusal("OutOfcpu", "too much")), NOW)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "OutOfcpu", "too much")


def test_a_patch_leaves_conditions_of_others_alone_and_clears_old_reasons() -> None:
    current: Object = status_of(pod(), facts(container(RUNNING)), NOW)
    current["conditions"].append({"type": "a/b", "status": "True", "reason": "Theirs"})
    patch = status_patch(
        current, status_of({"spec": {}, "status": current}, facts(container(RUNNING, ready=True)), NOW)
    )
    by_type = {c["type"]: c for c in patch["conditions"]}
    assert set(by_type) == {"Ready", "ContainersReady"}
    assert by_type["Ready"]["reason"] is None
    assert "phase" not in patch


STATES = st.sampled_from([WAITING, RUNNING, ended(0), ended(1)])
CONTAINERS = st.builds(container, STATES, ready=st.booleans())


@given(main=st.lists(CONTAINERS, min_size=1, max_size=3), ended=st.booleans(), refused=st.booleans())
def test_a_status_that_was_written_needs_no_patch(
    main: list[ContainerFacts], ended: bool, refused: bool
) -> None:
    now = facts(*main, ended=ended, refusal=Refusal("A", "b") if refused else None)
    there = status_of(pod(("a/b",)), now, NOW)
    returned = copy.deepcopy(there)
    for condition in returned["conditions"]:  # the API server leaves null out
        for field in [field for field, value in condition.items() if value is None]:
            del condition[field]
    assert (
        status_patch(returned, status_of({"spec": pod(("a/b",))["spec"], "status": returned}, now, LATER))
        == {}
    )
