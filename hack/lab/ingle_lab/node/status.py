"""A pod's status as a kubelet writes it. Pure: facts in, status and patch out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingle_kit.kube import Object
from ingle_lab.node.admission import Refusal

MERGED_LISTS = {"podIPs", "hostIPs"}
CONDITION_FIELDS = ("status", "reason", "message")


@dataclass(frozen=True)
class ContainerFacts:
    """One container now. `state` and `last_state` are Kubernetes' (one key: waiting, running or terminated)."""

    name: str
    image: str
    state: Object
    last_state: Object
    restarts: int
    started: bool
    ready: bool
    container_id: str

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """None unless it has ended and stays so."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])


@dataclass(frozen=True)
class PodFacts:
    """One pod now. `refusal` set: the node does not run it. `ended`: it was told to stop and has stopped."""

    init: tuple[ContainerFacts, ...]
    main: tuple[ContainerFacts, ...]
    refusal: Refusal | None
    ended: bool
    started_at: str
    address: str
    host_address: str


def restarts_after(policy: str, exit_code: int) -> bool:
    """Whether a container that ended runs again under the pod's restartPolicy."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def phase_of(facts: PodFacts, policy: str) -> str:
    """Pending, Running, Succeeded or Failed."""
    if facts.refusal is not None:
        return "Failed"
    codes = [c.exit_code for c in facts.main]
    if facts.ended:
        return "Succeeded" if all(code == 0 for code in codes) else "Failed"
    if any(c.exit_code and not restarts_after(policy, c.exit_code) for c in facts.init):
        return "Failed"
    if any(c.exit_code != 0 for c in facts.init):
        return "Pending"
    if all(code is not None and not restarts_after(policy, code) for code in codes):
        return "Failed" if any(codes) else "Succeeded"
    fresh = all("waiting" in c.state and not c.last_state for c in facts.main)
    return "Pending" if fresh else "Running"


def status_of(pod: Object, facts: PodFacts, now: str) -> Object:
    """The whole status that this node owns. `now` is RFC 3339, for the transitions it finds."""
    phase = phase_of(facts, pod["spec"].get("restartPolicy", "Always"))
    current = pod.get("status") or {}
    status: Object = {"phase": phase, "startTime": facts.started_at, "hostIP": facts.host_address}
    status["hostIPs"] = [{"ip": facts.host_address}]
    if facts.refusal is not None:
        status |= {"reason": facts.refusal.reason, "message": facts.refusal.message}
    if facts.refusal is None or facts.main:
        status |= {"podIP": facts.address, "podIPs": [{"ip": facts.address}]}
        status["containerStatuses"] = [_container_status(c) for c in facts.main]
        if facts.init:
            status["initContainerStatuses"] = [_container_status(c) for c in facts.init]
    status["conditions"] = [
        _timed(condition, current.get("conditions") or [], now)
        for condition in _conditions(pod, facts, phase)
    ]
    return status


def status_patch(current: Object, wanted: Object) -> Object:
    """Strategic merge patch from one status to the other; empty when nothing of ours differs.

    Conditions that are not in `wanted` belong to others and are left alone.
    """
    patch = {
        name: value
        for name, value in wanted.items()
        if name != "conditions" and _plain(current.get(name)) != _plain(value)
    }
    there = {c["type"]: c for c in current.get("conditions") or []}
    differing = [c for c in wanted.get("conditions") or [] if not _same_condition(there.get(c["type"]), c)]
    for name in MERGED_LISTS & patch.keys():  # else the server would add to what was there
        patch[name] = [{"$patch": "replace"}, *patch[name]]
    return patch | ({"conditions": differing} if differing else {})


def _container_status(container: ContainerFacts) -> Object:
    status: Object = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "state": container.state,
        "lastState": container.last_state,
        "restartCount": container.restarts,
        "started": container.started,
        "ready": container.ready,
    }
    return status | ({"containerID": container.container_id} if container.container_id else {})


def _conditions(pod: Object, facts: PodFacts, phase: str) -> list[Object]:
    conditions = []
    mine = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    if "PodScheduled" not in mine:  # bound by its creator, not by a scheduler
        conditions.append(_condition("PodScheduled", "", ""))
    waiting_init = [c.name for c in facts.init if c.exit_code != 0]
    done = phase in ("Succeeded", "Failed")
    if done:
        over = ("PodCompleted" if phase == "Succeeded" else "PodFailed", "")
        initialized = _condition("Initialized", *over) if waiting_init or facts.refusal else None
        conditions.append(initialized or _condition("Initialized", "", ""))
        return [*conditions, _condition("ContainersReady", *over), _condition("Ready", *over)]
    not_init = f"containers with incomplete status: [{' '.join(waiting_init)}]" if waiting_init else ""
    conditions.append(_condition("Initialized", "ContainersNotInitialized" if not_init else "", not_init))
    unready = [c.name for c in facts.main if not c.ready]
    why = f"containers with unready status: [{' '.join(unready)}]" if unready else ""
    conditions.append(_condition("ContainersReady", "ContainersNotReady" if why else "", why))
    if why:
        return [*conditions, _condition("Ready", "ContainersNotReady", why)]
    gates = "; ".join(_closed_gates(pod, mine))
    return [*conditions, _condition("Ready", "ReadinessGatesNotReady" if gates else "", gates)]


def _closed_gates(pod: Object, conditions: dict[str, Object]) -> list[str]:
    closed = []
    for gate in pod["spec"].get("readinessGates") or []:
        name = gate["conditionType"]
        status = conditions[name]["status"] if name in conditions else None
        if status is None:
            closed.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif status != "True":
            closed.append(f'the status of pod readiness gate "{name}" is not "True", but {status}')
    return closed


def _condition(name: str, reason: str, message: str) -> Object:
    """True when there is no reason against it. None clears what an earlier reason left."""
    status = "False" if reason else "True"
    return {"type": name, "status": status, "reason": reason or None, "message": message or None}


def _timed(condition: Object, current: Sequence[Object], now: str) -> Object:
    before = next((c for c in current if c["type"] == condition["type"]), {})
    same = before.get("status") == condition["status"]
    return condition | {"lastTransitionTime": (before.get("lastTransitionTime") if same else None) or now}


def _same_condition(current: Object | None, wanted: Object) -> bool:
    return current is not None and all(
        (current.get(name) or None) == (wanted.get(name) or None) for name in CONDITION_FIELDS
    )


def _plain(value: Any) -> Any:
    """The value without what the API server leaves out: null and empty objects."""
    if isinstance(value, dict):
        inner = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None and item != {}}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
