"""All nodes, kept by watch events of GPUNodes and Nodes, and by what our own claims return."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingle_core.facts import Columns, GpuNode, node_facts
from ingle_extender.wire import KubeNode, Pod
from ingle_kit.whatif import Question


@dataclass(frozen=True, slots=True)
class Seen:
    """A GPUNode as JSON (a patch starts from it) and read."""

    obj: dict[str, Any]
    node: GpuNode

    @classmethod
    def of(cls, obj: dict[str, Any]) -> Seen:
        return cls(obj, GpuNode.from_dict(obj))


class Nodes:
    """Columns for ranking, an index of who holds claims where, and the objects to patch."""

    def __init__(
        self,
        *,
        on_claimed: Callable[[Collection[str]], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.columns = Columns()
        self._seen: dict[str, Seen] = {}
        self._kube: dict[str, KubeNode] = {}
        self._heard_at_s: dict[str, float] = {}
        self._node_of: dict[str, str] = {}
        self._bound: dict[str, set[str]] = {}  # UIDs of pods by the node where they have GPUs
        self._on_claimed, self._clock, self._wall = on_claimed, clock, wall

    def node_of(self, pod_uid: str) -> str | None:
        """The node whose ledger has a claim of this pod."""
        return self._node_of.get(pod_uid)

    def seen(self, name: str) -> Seen | None:
        return self._seen.get(name)

    def offered(self, question: Question) -> list[str]:
        """Nodes with GPUs that kube-scheduler would offer by labels and taints."""
        kube = {name: self._kube.get(name) for name in self.columns.row}
        return [
            name
            for name, one in kube.items()
            if one is not None and question.offers(one.metadata.labels or {}, one.spec.taints or ())
        ]

    def selected(self, labels: Mapping[str, str]) -> list[str]:
        """Nodes with GPUs that have all these labels."""
        kube = {name: self._kube.get(name) for name in self.columns.row}
        has = {name: (one.metadata.labels or {}) if one else {} for name, one in kube.items()}
        return [name for name in has if labels.items() <= has[name].items()]

    def take(self, name: str, new: Seen | None) -> None:
        """A GPUNode from the watch or from our own write; older revisions of the same object are ignored."""
        old = self._seen.get(name)
        if new is None:
            self._forget(name)
            return
        same = old is not None and old.node.metadata.uid == new.node.metadata.uid
        if old is not None and same and _version(old) == _version(new) != "":
            return  # our own write, seen again by the watch
        if old is not None and same and new.node.spec.revision < old.node.spec.revision:
            return
        before = old.node.status.heartbeat_at if old is not None and same else ""
        if not before or before != new.node.status.heartbeat_at:
            self._heard_at_s[name] = self._heard(new.node.status.heartbeat_at, first=not before)
        self._seen[name] = new
        self._index(name, old, new)
        self._refresh(name)

    def take_kube(self, name: str, new: KubeNode | None) -> None:
        """A Node from the watch."""
        if new is None:
            self._kube.pop(name, None)
        else:
            self._kube[name] = new
        self._refresh(name)

    def take_pod(self, old: Pod | None, new: Pod | None) -> None:
        """A pod from the watch: one that is bound with GPUs must be in its node's ledger."""
        nodes = {pod.spec.node_name for pod in (old, new) if pod is not None and pod.spec.node_name}
        before = {name: self._whole(name) for name in nodes}
        for pod in (old, new):
            if pod is None or not pod.spec.node_name or not pod.gpus:
                continue
            bound = self._bound.setdefault(pod.spec.node_name, set())
            (bound.discard if pod is old else bound.add)(pod.metadata.uid)
            if not bound:
                del self._bound[pod.spec.node_name]
        for name in nodes:
            if before[name] != self._whole(name):
                self._refresh(name)

    def _heard(self, heartbeat_at: str, *, first: bool) -> float:
        """When the agent was heard, on our clock: a change is news; what was there before us is as old as it says."""
        now_s = self._clock()
        if not first:
            return now_s
        try:
            age_s = self._wall() - datetime.fromisoformat(heartbeat_at).timestamp()
        except ValueError:
            return float("-inf")  # it has never written
        return now_s - max(0.0, age_s)

    def _index(self, name: str, old: Seen | None, new: Seen | None) -> None:
        now = {pod.uid for pod in new.node.spec.pods} if new else set()
        for pod in old.node.spec.pods if old else ():
            if pod.uid not in now and self._node_of.get(pod.uid) == name:
                del self._node_of[pod.uid]
        self._node_of.update(dict.fromkeys(now, name))
        if now:
            self._on_claimed(now)

    def _whole(self, name: str) -> bool:
        """Every pod that has GPUs of the node is in its ledger."""
        seen, bound = self._seen.get(name), self._bound.get(name)
        return seen is None or not bound or bound <= {pod.uid for pod in seen.node.spec.pods}

    def _refresh(self, name: str) -> None:
        seen, kube = self._seen.get(name), self._kube.get(name)
        if seen is None:
            return
        ready = kube is not None and kube.ready
        cordoned = kube is not None and kube.cordoned
        whole = self._whole(name)
        heard_at_s = self._heard_at_s[name]
        self.columns.update(
            name, node_facts(seen.node, heard_at_s=heard_at_s, ready=ready, cordoned=cordoned, whole=whole)
        )

    def _forget(self, name: str) -> None:
        self._index(name, self._seen.pop(name, None), None)
        self._heard_at_s.pop(name, None)
        self.columns.remove(name)


def _version(seen: Seen) -> str:
    return seen.node.metadata.resource_version
