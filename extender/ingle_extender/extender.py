"""The extender put together: caches, filter, bind, explain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from ingle_core.placement.conflict import Conflicts, Profile
from ingle_extender.assumptions import Assumptions
from ingle_extender.binding import Binding
from ingle_extender.decisions import Decisions
from ingle_extender.explain import explain
from ingle_extender.filtering import Filtering
from ingle_extender.metrics import Metrics
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.profiles import profile_of
from ingle_extender.settings import Settings
from ingle_extender.wire import KubeNode, Pod
from ingle_kit.kube import Kube
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LABEL_POOL, NODE, POD
from ingle_kit.watch import Key, Reflector
from ingle_kit.whatif import Answer, Question, answer


class Extender:
    """Works from its own watches alone: no other process of ours is asked."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self.settings = settings
        self.assumptions = Assumptions(ttl_s=settings.assumed_s, limit=settings.assumed_max)
        self.decisions = Decisions()
        self.nodes = Nodes(on_claimed=self.assumptions.drop)
        self.conflicts = Conflicts()
        self.filtering = Filtering(
            self.nodes,
            self.assumptions,
            self.decisions,
            silent_s=settings.silent_s,
            conflicts=self.conflicts,
        )
        self._gpu_nodes = Reflector(kube, GPU_NODE, decode=Seen.of, on_change=self._gpu_node_changed)
        self._kube_nodes = Reflector(kube, NODE, decode=_kube_node, on_change=self._kube_node_changed)
        self._pods = Reflector(kube, POD, decode=_pod, label_selector=LABEL_POOL, on_change=self._pod_changed)
        self._pools = Reflector(kube, INFERENCE_POOL, decode=profile_of, on_change=self._pool_changed)
        self.metrics = Metrics(
            assumed=lambda: float(len(self.assumptions)),
            watch_age_s={
                "GPUNode": self._gpu_nodes.age_s,
                "Node": self._kube_nodes.age_s,
                "Pod": self._pods.age_s,
                "InferencePool": self._pools.age_s,
            },
        )
        self.binding = Binding(
            kube,
            self.nodes,
            self.assumptions,
            self.decisions,
            self.filtering,
            self.metrics,
            attempts=settings.claim_attempts,
            renew_s=settings.claim_renew_s,
        )

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """To be run as long as the process lives."""
        return [self._gpu_nodes.run(), self._kube_nodes.run(), self._pods.run(), self._pools.run()]

    @property
    def synced(self) -> bool:
        """Pools do not count: without them pods are placed all the same."""
        return (
            self._gpu_nodes.synced.is_set()
            and self._kube_nodes.synced.is_set()
            and self._pods.synced.is_set()
        )

    async def wait_synced(self, timeout_s: float) -> bool:
        """True once all caches are filled; False when that takes longer."""
        if self.synced:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                for reflector in (self._gpu_nodes, self._kube_nodes, self._pods):
                    await reflector.synced.wait()
        except TimeoutError:
            return False
        return True

    def explain(self, namespace: str, name: str) -> dict[str, Any] | None:
        """None: no such pod with the pool label."""
        pod = self._pods.store.get((namespace, name))
        return None if pod is None else explain(pod, self.nodes, self.filtering, self.decisions)

    def whatif(self, question: Question) -> Answer:
        """Where equal pods would go one after the other, asked of `filtering` as filter does; remembers nothing."""
        names = self.nodes.offered(question)
        found, _ = answer(
            question,
            self.nodes.columns.facts,
            names,
            lambda assumed: self.filtering.rank_beside(question.ask, names, assumed),
            self.filtering.assumed(""),
        )
        return found

    def _gpu_node_changed(self, key: Key, old: Seen | None, new: Seen | None) -> None:
        self.nodes.take(key[1], new)

    def _pool_changed(self, key: Key, old: Profile | None, new: Profile | None) -> None:
        self.conflicts.learn("/".join(key), new)

    def _kube_node_changed(self, key: Key, old: KubeNode | None, new: KubeNode | None) -> None:
        self.nodes.take_kube(key[1], new)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.assumptions.drop([old.metadata.uid])


def _kube_node(obj: dict[str, Any]) -> KubeNode:
    return msgspec.convert(obj, KubeNode)


def _pod(obj: dict[str, Any]) -> Pod:
    return msgspec.convert(obj, Pod)
