"""The extender put together: caches, filter, bind, explain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any

import msgspec

from ingle_core.placement.pools import PoolFacts, Pools
from ingle_extender.ahead import Ahead
from ingle_extender.assumptions import Assumptions
from ingle_extender.binding import Binding
from ingle_extender.decisions import Decisions
from ingle_extender.explain import explain
from ingle_extender.filtering import Filtering
from ingle_extender.metrics import Metrics
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.settings import Settings
from ingle_extender.wire import KubeNode, Pod
from ingle_kit.kube import Kube
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, LABEL_POOL, NODE, POD
from ingle_kit.poolfacts import pool_facts
from ingle_kit.watch import Key, Reflector
from ingle_kit.whatif import Answer, Question, answer


class Extender:
    """Works from its own watches alone: no other process of ours is asked."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self.settings = settings
        self.assumptions = Assumptions(ttl_s=settings.assumed_s, limit=settings.assumed_max)
        self.decisions = Decisions()
        self.nodes = Nodes(on_claimed=self.assumptions.drop)
        self.pools = Pools()
        self.filtering = Filtering(
            self.nodes,
            self.assumptions,
            self.decisions,
            silent_s=settings.silent_s,
            pools=self.pools,
        )
        self._gpu_nodes = Reflector(kube, GPU_NODE, decode=Seen.of, on_change=self._gpu_node_changed)
        self._kube_nodes = Reflector(kube, NODE, decode=_kube_node, on_change=self._kube_node_changed)
        self._pods = Reflector(kube, POD, decode=_pod, label_selector=LABEL_POOL, on_change=self._pod_changed)
        self._pools = Reflector(kube, INFERENCE_POOL, decode=pool_facts, on_change=self._pool_changed)
        everyone = partial(self.filtering.assumed, "")
        self.ahead = Ahead(self.nodes, self.pools, assumed=everyone, every_s=settings.ahead_s)
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
        reflectors = (self._gpu_nodes, self._kube_nodes, self._pods, self._pools)
        return [*(one.run() for one in reflectors), self._work_ahead()]

    @property
    def synced(self) -> bool:
        """All read, and worked out so that the first pod is placed as quickly as any other."""
        return self.ahead.done.is_set()

    async def wait_synced(self, timeout_s: float) -> bool:
        """True once all caches are filled; False when that takes longer."""
        if self.synced:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self.ahead.done.wait()
        except TimeoutError:
            return False
        return True

    async def _work_ahead(self) -> None:
        """Pools are waited for only a while: without them pods are placed all the same."""
        for reflector in (self._gpu_nodes, self._kube_nodes, self._pods):
            await reflector.synced.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.pools_wait_s):
                await self._pools.synced.wait()
        await self.ahead.run()

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
            lambda assumed: self.filtering.rank_beside(question.ask, names, assumed, question.pool),
            self.filtering.assumed(""),
        )
        return found

    def _gpu_node_changed(self, key: Key, old: Seen | None, new: Seen | None) -> None:
        self.nodes.take(key[1], new)

    def _pool_changed(self, key: Key, old: PoolFacts | None, new: PoolFacts | None) -> None:
        self.pools.learn("/".join(key), new)

    def _kube_node_changed(self, key: Key, old: KubeNode | None, new: KubeNode | None) -> None:
        self.nodes.take_kube(key[1], new)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self.nodes.take_pod(old, new)
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.assumptions.drop([old.metadata.uid])


def _kube_node(obj: dict[str, Any]) -> KubeNode:
    return msgspec.convert(obj, KubeNode)


def _pod(obj: dict[str, Any]) -> Pod:
    return msgspec.convert(obj, Pod)
