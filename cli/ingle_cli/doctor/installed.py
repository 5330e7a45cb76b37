"""Checks of what is installed: versions, kinds, rights, admission policies, flow schemas. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ingle_cli.doctor.facts import Facts, Found, Object, Right, Unread, some, unchecked
from ingle_kit.names import LABEL_COMPONENT
from ingle_kit.objects.crd import definition_object
from ingle_kit.objects.kinds import DEFINITIONS

KUBERNETES_MIN: Final = (1, 35)
OURS: Final = frozenset({"operator", "extender", "router", "agent"})
SCHEDULER: Final = "kube-scheduler"
APPLY: Final = "helm upgrade with the chart of the version you want"

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


def versions(facts: Facts) -> Iterator[Found]:
    """The server is new enough, our parts are of one version, and this command is of the same."""
    yield from unchecked(facts.kubernetes, facts.pods)
    server = None if isinstance(facts.kubernetes, Unread) else numbers(facts.kubernetes)
    if server is not None and server[:2] < KUBERNETES_MIN:
        wanted = ".".join(map(str, KUBERNETES_MIN))
        yield Found(
            "Bad", f"Kubernetes {facts.kubernetes} is older than {wanted}", f"Upgrade to {wanted} or newer."
        )
    elif server is not None:
        yield Found("Good", f"Kubernetes {facts.kubernetes}")
    if isinstance(facts.pods, Unread):
        return
    tags = sorted({tag for pod in facts.pods for name, tag in _tags(pod) if name in OURS})
    if len(tags) > 1:
        yield Found(
            "Note",
            f"several versions of Ingle run beside each other: {some(tags)}",
            "Wait for a rolling upgrade to end; else look for pods that do not come up.",
        )
    elif tags and numbers(tags[0]) not in (None, numbers(facts.version)):
        yield Found(
            "Note",
            f"Ingle {tags[0]} runs, this command is {facts.version}",
            "Install the command's other version.",
        )
    elif tags:
        yield Found("Good", f"Ingle {tags[0]} runs, this command is {facts.version}")
    for tag in sorted({tag for pod in facts.pods for name, tag in _tags(pod) if name == SCHEDULER}):
        made = numbers(tag)
        if server is not None and made is not None and made[:2] > server[:2]:
            yield Found(
                "Bad",
                f"kube-scheduler {tag} is newer than the API server {facts.kubernetes}",
                "Set images.kubeScheduler.tag to the cluster's version.",
            )


def numbers(text: str) -> tuple[int, ...] | None:
    """v1.37.2 -> (1, 37, 2); None where there is none."""
    match = _VERSION.match(text)
    return None if match is None else tuple(int(part or 0) for part in match.groups())


def _tags(pod: Object) -> Iterator[tuple[str, str]]:
    """Containers by name with the tag of their image; without one where it is pinned by digest alone."""
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        last = container.get("image", "").partition("@")[0].rpartition("/")[2]
        tag = last.partition(":")[2]
        if tag:
            yield container["name"], tag


def kinds(facts: Facts) -> Iterator[Found]:
    """Each kind is there, served, and the one that this version was made with."""
    yield from unchecked(*facts.definitions.values())
    missing, unserved, other, same = [], [], [], []
    for definition in DEFINITIONS:
        name = f"{definition.kind.plural}.{definition.kind.group}"
        live = facts.definitions.get(name, {})
        if isinstance(live, Unread):
            continue
        if not live:
            missing.append(name)
        elif not _served(live):
            unserved.append(name)
        elif _schema(live) != _schema(definition_object(definition)):
            other.append(name)
        else:
            same.append(definition.kind.plural)
    if missing:
        yield Found("Bad", f"not installed: {some(missing)}", f"kubectl apply -f crds, or {APPLY}.")
    if unserved:
        yield Found("Bad", f"not served: {some(unserved)}", f"kubectl describe crd {unserved[0]} says why.")
    if other:
        todo = f"{APPLY}, or install the command of the version that runs."
        yield Found("Note", f"of another version than this command: {some(other)}", todo)
    if same:
        yield Found("Good", f"{some(same)} are served, and of this version")


def _served(live: Object) -> bool:
    conditions = (live.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _schema(definition: Object) -> list[tuple[str, Object]]:
    return [(v["name"], v["schema"]["openAPIV3Schema"]) for v in definition["spec"]["versions"]]


def rights(facts: Facts) -> Iterator[Found]:
    """Each process may do what it has to."""
    accounts = {account: found for account, found in facts.allowed.items() if account is not None}
    yield from unchecked(*(answer for found in accounts.values() for answer in found.values()))
    for account, found in accounts.items():
        missing = [str(right) for right, answer in found.items() if answer is False]
        if missing:
            yield Found(
                "Bad",
                f"the account {account} may not {some(missing)}",
                f"kubectl apply -f charts/manifests/rbac.yaml, or {APPLY}.",
            )
        elif not any(isinstance(answer, Unread) for answer in found.values()):
            yield Found("Good", f"{account} may do all of {len(found)} things")


def own_rights(facts: Facts) -> Iterator[Found]:
    """Whoever asks may see what the commands show."""
    found: dict[Right, bool | Unread] = facts.allowed.get(None, {})
    missing = [str(right) for right, answer in found.items() if answer is False]
    if missing:
        yield Found(
            "Note",
            f"you may not {some(missing)}",
            "Ask for the roles ingle-view-cluster and, in ingle-system, ingle-view-scheduler.",
        )
    elif found:
        yield Found("Good", "you may read all that the commands show")
    yield from unchecked(*found.values())


def guards(facts: Facts) -> Iterator[Found]:
    """The admission policies stand, each with its binding."""
    yield from _standing(facts.guards, "admission policy", "charts/manifests/admission.yaml")


def flows(facts: Facts) -> Iterator[Found]:
    """The flow schemas stand."""
    yield from _standing(facts.flows, "FlowSchema", "charts/manifests/flow.yaml")


def _standing(found: dict[str, Object | Unread], what: str, file: str) -> Iterator[Found]:
    yield from unchecked(*found.values())
    missing = [name for name, obj in found.items() if obj == {}]
    present = [name for name, obj in found.items() if obj and not isinstance(obj, Unread)]
    if missing:
        yield Found("Bad", f"{what} missing: {some(missing)}", f"kubectl apply -f {file}, or {APPLY}.")
    if present:
        yield Found("Good", f"{some(present)}")


def pods_of(facts: Facts, component: str) -> list[Object]:
    """Our pods of a component; none where pods could not be read."""
    pods = () if isinstance(facts.pods, Unread) else facts.pods
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == component]
