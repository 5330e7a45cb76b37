"""Checks of what runs: operator, scheduler, gateways, agents, clocks, GPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingle_cli.doctor.facts import Facts, Found, Level, Object, Unread, some, unchecked
from ingle_cli.doctor.installed import pods_of
from ingle_cli.objects import seconds_since
from ingle_cli.status.summary import operator_line
from ingle_cli.text import age, plural
from ingle_core.placement import SILENT_AFTER_S
from ingle_kit.names import LABEL_MANAGED, RESOURCE_NVIDIA_GPU

UNSEEN_S: Final = 30.0
CLOCK_NOTE_S: Final = 5.0
CLOCK_BAD_S: Final = SILENT_AFTER_S / 3
PRESENT: Final = "nvidia.com/gpu.present"
LOGS: Final = "See kubectl -n ingle-system logs -l ingle.dev/component="
NTP: Final = "Let the node's clock be set by NTP or chrony."


def operator(facts: Facts) -> Iterator[Found]:
    """Somebody leads."""
    lease = facts.leases.get("ingle-operator", {})
    yield from unchecked(lease)
    yield from _pods(facts, "operator")
    if isinstance(lease, Unread):
        return
    line = operator_line(lease, facts.now_s)
    if line.held:
        yield Found("Good", f"{line.leader} leads (epoch {line.epoch})")
    elif line.leader is None:
        yield Found("Bad", "no operator leads", f"{LOGS}operator.")
    else:
        yield Found(
            "Bad",
            f"the lease of {line.leader} ran out, last renewed {age(line.renewed_s)} ago by your clock",
            f"{LOGS}operator; look at your own clock too.",
        )


def scheduler(facts: Facts) -> Iterator[Found]:
    """Our kube-scheduler leads, its extender answers, and no engine waits unseen."""
    lease = facts.leases.get("ingle-scheduler", {})
    yield from unchecked(lease, facts.engines)
    yield from _pods(facts, "scheduler")
    if not isinstance(lease, Unread):
        line = operator_line(lease, facts.now_s)
        if line.held:
            yield Found("Good", f"{line.leader} schedules")
        else:
            text = "no kube-scheduler of ours leads" if lease else "our kube-scheduler has no lease"
            yield Found("Bad", text, f"{LOGS}scheduler -c kube-scheduler.")
    yield from _ports(facts, "scheduler", "extender")
    unseen = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in ([] if isinstance(facts.engines, Unread) else facts.engines)
        if _unseen(pod, facts.now_s)
    ]
    if unseen:
        yield Found(
            "Bad",
            f"no scheduler has looked at {some(unseen)}",
            f"Its profile is named ingle. {LOGS}scheduler -c kube-scheduler.",
        )


def _unseen(pod: Object, now_s: float) -> bool:
    if (pod.get("spec") or {}).get("nodeName") or (pod.get("spec") or {}).get("schedulingGates"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    waits_s = seconds_since(pod["metadata"].get("creationTimestamp"), now_s) or 0.0
    return waits_s > UNSEEN_S and not any(c["type"] == "PodScheduled" for c in conditions)


def gateways(facts: Facts) -> Iterator[Found]:
    """Routers are ready and answer."""
    yield from _pods(facts, "gateway")
    yield from _ports(facts, "gateway", "router")


def _pods(facts: Facts, component: str) -> Iterator[Found]:
    if isinstance(facts.pods, Unread):
        yield from unchecked(facts.pods)
        return
    pods = pods_of(facts, component)
    bad = [f"{pod['metadata']['name']} ({_trouble(pod)})" for pod in pods if _trouble(pod)]
    if not pods:
        yield Found("Bad", f"there is no pod of the {component}", "See helm status ingle -n ingle-system.")
    elif bad:
        level: Level = "Bad" if len(bad) == len(pods) or component == "agent" else "Note"
        yield Found(level, f"not ready: {some(bad)}", f"{LOGS}{component}, and kubectl describe the pod.")
    else:
        yield Found("Good", f"{plural(len(pods), 'pod')} ready")


def _trouble(pod: Object) -> str:
    """Why a pod is not ready; empty where it is."""
    status = pod.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    scheduled = conditions.get("PodScheduled", {})
    phase = status.get("phase") or "no status"
    return str(scheduled.get("reason") or ("its probe fails" if phase == "Running" else phase))


def _ports(facts: Facts, component: str, what: str) -> Iterator[Found]:
    """Whether they answer. That none could be asked is no fault of theirs: most networks do not let us."""
    answers = {
        pod["metadata"]["name"]: facts.reached.get(pod["metadata"]["name"])
        for pod in pods_of(facts, component)
    }
    ill = [name for name, answer in answers.items() if answer is False]
    well = [name for name, answer in answers.items() if answer is True]
    if ill:
        yield Found(
            "Bad", f"the {what} of {some(ill)} says that it is not well", f"{LOGS}{component} -c {what}."
        )
    if well:
        yield Found("Good", f"the {what} answers on {some(well)}")
    else:
        yield from unchecked(*answers.values())


def agents(facts: Facts) -> Iterator[Found]:
    """Every node with GPUs has an agent that was heard."""
    yield from _pods(facts, "agent")
    yield from unchecked(facts.gpu_nodes, facts.nodes)
    if isinstance(facts.gpu_nodes, Unread):
        return
    told = {obj["metadata"]["name"]: obj for obj in facts.gpu_nodes}
    silent = {name: _heard_s(obj, facts.now_s) for name, obj in told.items()}
    bad = [
        f"{name} ({age(heard)})" for name, heard in silent.items() if heard is None or heard > SILENT_AFTER_S
    ]
    if bad:
        yield Found(
            "Bad",
            f"silent agents: {some(bad)}",
            f"{LOGS}agent --prefix; nvidia-smi may hang on those nodes too.",
        )
    if not isinstance(facts.nodes, Unread):
        names = {node["metadata"]["name"] for node in facts.nodes}
        without = sorted(
            node["metadata"]["name"]
            for node in facts.nodes
            if _has_gpus(node) and node["metadata"]["name"] not in told
        )
        if without:
            yield Found(
                "Bad",
                f"nodes with GPUs and no agent: {some(without)}",
                "Does agent.nodeSelector choose them?",
            )
        gone = sorted(told.keys() - names)
        if gone:
            yield Found(
                "Note",
                f"GPUNodes without a node: {some(gone)}",
                "kubectl delete gpunode NAME, once its pods are gone.",
            )
    if told and not bad:
        yield Found("Good", f"{plural(len(told), 'agent')} heard within {SILENT_AFTER_S:.0f} s")
    elif not told:
        yield Found(
            "Note",
            "no agent has reported a GPU",
            "Is there a node with GPUs that agent.nodeSelector chooses?",
        )


def _heard_s(obj: Object, now_s: float) -> float | None:
    return seconds_since((obj.get("status") or {}).get("heartbeatAt"), now_s)


def _has_gpus(node: Object) -> bool:
    capacity = (node.get("status") or {}).get("capacity") or {}
    labels = node["metadata"].get("labels") or {}
    return labels.get(PRESENT) == "true" or str(capacity.get(RESOURCE_NVIDIA_GPU, "0")) != "0"


def clocks(facts: Facts) -> Iterator[Found]:
    """Clocks of agents and of the leader against the API server's, which stamps each of their writes."""
    leader = facts.leases.get("ingle-operator", {})
    yield from unchecked(facts.gpu_nodes, leader)
    skews: dict[str, float] = {}
    for obj in [] if isinstance(facts.gpu_nodes, Unread) else facts.gpu_nodes:
        skew = skew_s(obj, "status", "heartbeatAt")
        if skew is not None:
            skews[obj["metadata"]["name"]] = skew
    lead = None if isinstance(leader, Unread) else skew_s(leader, "spec", "renewTime")
    if lead is not None:
        skews["the leading operator"] = lead
    bounds: tuple[tuple[float, float, Level], ...] = (
        (CLOCK_BAD_S, float("inf"), "Bad"),
        (CLOCK_NOTE_S, CLOCK_BAD_S, "Note"),
    )
    for least, most, level in bounds:
        off = [f"{name} ({skew:+.0f} s)" for name, skew in skews.items() if least < abs(skew) <= most]
        if off:
            yield Found(level, f"clocks differ from the API server's: {some(off)}", NTP)
    if skews and all(abs(skew) <= CLOCK_NOTE_S for skew in skews.values()):
        yield Found("Good", f"{plural(len(skews), 'clock')} within {CLOCK_NOTE_S:.0f} s of the API server's")


def skew_s(obj: Object, part: str, name: str) -> float | None:
    """How far ahead of the API server's clock whoever wrote the time `part.name` is, to about a second.

    The server notes when each manager's fields last changed; None where it tells no such time.
    """
    written = (obj.get(part) or {}).get(name)
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get(f"f:{part}") or {}
        at_s = seconds_since(entry.get("time"), 0.0)
        if f"f:{name}" in fields and at_s is not None:
            ago_s = seconds_since(written, -at_s)
            return None if ago_s is None else -ago_s
    return None


def gpus(facts: Facts) -> Iterator[Found]:
    """GPUs are healthy, limits are set, pods sit where the ledger has them, managed nodes are held."""
    yield from unchecked(facts.gpu_nodes)
    if isinstance(facts.gpu_nodes, Unread):
        return
    nodes = [] if isinstance(facts.nodes, Unread) else facts.nodes
    managed = {n["metadata"]["name"] for n in nodes if LABEL_MANAGED in (n["metadata"].get("labels") or {})}
    count, faults = 0, 0
    for obj in facts.gpu_nodes:
        name, status = obj["metadata"]["name"], obj.get("status") or {}
        for condition in status.get("conditions") or ():
            good = "False" if condition["type"] in ("Stalled", "Reconciling") else "True"
            if condition["status"] != good and condition["type"] in ("Ready", "Stalled", "Attached"):
                faults += 1
                todo = f"See ingle explain --code {condition['reason']} and ingle explain node/{name}."
                yield Found("Bad", f"{name}: {condition.get('message') or condition['reason']}", todo)
        seen = status.get("gpus") or ()
        count += len(seen)
        others = [gpu["uuid"] for gpu in seen if gpu.get("heldBy") in ("Other", "Unknown")]
        if name in managed:
            others += [gpu["uuid"] for gpu in seen if gpu.get("heldBy") == "Nobody"]
        if others:
            faults += 1
            yield Found(
                "Note", f"{name}: no holder pod has {some(others)}", "See ingle explain --code GPUNotHeld."
            )
    if count and not faults:
        yield Found("Good", f"{plural(count, 'GPU')} healthy and where the ledger has them")
