"""What every reconciler reads and writes through: caches, streams, the lease, and notes that a restart may lose."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import aiohttp

from ingle_core.ledger import Ledger, Op
from ingle_core.warmpool.facts import State
from ingle_kit.kube import Object
from ingle_kit.ledger import Refused
from ingle_kit.names import (
    AUTOSCALER,
    COMPONENT_FETCH,
    COMPONENT_HOLDER,
    GPU_NODE,
    INFERENCE_POOL,
    LABEL_COMPONENT,
    LABEL_MANAGED,
    LABEL_POOL,
    NODE,
    POD,
    PORT_AGENT,
    PORT_ROUTER,
    POWER_BUDGET,
    ROUTING_POLICY,
)
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.streams import Demand, GpuReading, Measurement
from ingle_kit.watch import Reflector
from ingle_operator import loads, parse
from ingle_operator.autoscalers import Autoscaler, autoscaler_of
from ingle_operator.engines import EngineClient
from ingle_operator.fenced import FencedKube
from ingle_operator.holders import Holder, holder_of
from ingle_operator.keepalives import KeepAlives
from ingle_operator.keys import Key, KeyQueue
from ingle_operator.leader import Leader
from ingle_operator.ledgers import Ledgers
from ingle_operator.notes import Notes
from ingle_operator.pastuses import PastUses
from ingle_operator.prefetch import copier_of
from ingle_operator.readings import limits_in, memory_in
from ingle_operator.roomfacts import NodeColumns, PoolContext
from ingle_operator.scaling import notes_of
from ingle_operator.settings import OperatorSettings
from ingle_operator.subscriptions import Subscriptions

COMPONENT_AGENT = "agent"
COMPONENT_GATEWAY = "gateway"
ALL = "all"


class World:
    """Wiring happens in `main`; reconcilers get the world and a key."""

    def __init__(
        self,
        settings: OperatorSettings,
        leader: Leader,
        session: aiohttp.ClientSession,
        kubeconfig: str | None = None,
    ) -> None:
        self.settings, self.leader = settings, leader
        limit_s = settings.write_limit_s
        self.kube = FencedKube(fence=leader.check, write_limit_s=limit_s, kubeconfig=kubeconfig)
        self.notes = Notes()
        self.keepalives = KeepAlives(settings.keep_price_s)
        self.past_uses = PastUses()
        self.scaling = notes_of(settings)
        self.columns = NodeColumns()
        self.pool_context = PoolContext()
        self.fetch_columns, self.fetch_context = NodeColumns(), PoolContext()  # a thread reads the others
        self.engines = EngineClient(session, leader.check, settings.call_limit_s, settings.wake_limit_s)
        self.started_at_s = time.time()
        self.queue: KeyQueue | None = None
        self.on_reconcile: Callable[[str], None] = lambda topic: None
        self.pools = self._reflector(INFERENCE_POOL, parse.pool_of, self._named("pool"))
        self.policies = self._reflector(ROUTING_POLICY, parse.policy_of, self._policy_changed)
        self.budgets = self._reflector(POWER_BUDGET, parse.budget_of, lambda *_: self.touch_budgets())
        self.gpu_nodes = self._reflector(GPU_NODE, parse.gpu_node_of, self._gpu_node_changed)
        self.ledgers = Ledgers(self.kube, self.gpu_nodes, self.notes)
        self.nodes = self._reflector(NODE, parse.node_of, self._node_changed)
        self.pods = self._reflector(POD, parse.engine_pod_of, self._pod_changed, label_selector=LABEL_POOL)
        self.components = self._reflector(
            POD,
            parse.component_of,
            self._component_changed,
            namespace=settings.namespace,
            label_selector=f"{LABEL_COMPONENT} in ({COMPONENT_AGENT},{COMPONENT_GATEWAY})",
        )
        self.holders = self._reflector(
            POD,
            holder_of,
            self._holder_changed,
            namespace=settings.namespace,
            label_selector=f"{LABEL_COMPONENT}={COMPONENT_HOLDER}",
        )
        self.autoscalers = self._reflector(AUTOSCALER, autoscaler_of, self._autoscaler_changed)
        self.copiers = self._reflector(
            POD,
            copier_of,
            lambda *_: self.add("fetch", ALL),
            label_selector=f"{LABEL_COMPONENT}={COMPONENT_FETCH}",
        )
        self.agents: Subscriptions[Measurement] = Subscriptions(session, Measurement, self._measured)
        self.routers: Subscriptions[Demand] = Subscriptions(session, Demand, self._demanded)

    def _reflector(
        self, kind: Any, decode: Callable[[Object], Any], changed: Any, **where: str
    ) -> Reflector[Any]:
        return Reflector(self.kube, kind, decode=decode, on_change=changed, **where)

    def reflectors(self) -> tuple[Reflector[Any], ...]:
        return (
            self.pools,
            self.policies,
            self.budgets,
            self.gpu_nodes,
            self.nodes,
            self.pods,
            self.components,
            self.holders,
            self.copiers,
            self.autoscalers,
        )

    def add(self, topic: str, name: str) -> None:
        """Puts a key in the queue; nothing while another leads."""
        if self.queue is not None:
            self.queue.add((topic, name))

    def add_all(self) -> None:
        """Every key there is: on gaining the lease, and now and then."""
        for pool in self.pools.store.values():
            self.add("pool", pool.name)
        for pod in self.pods.store.values():
            self.add("engine", "/".join(pod.key))
        for policy in self.policies.store.values():
            self.add("policy", policy.name)
        self.touch_budgets()
        self.add("room", ALL)
        self.add("residue", ALL)
        self.add("wakeslot", ALL)
        self.add("fetch", ALL)
        self.add("forecast", ALL)
        self.add("pastuse", ALL)
        for name in {key[1] for key in self.gpu_nodes.store} | self.agent_nodes():
            self.add("node", name)
        managed = {node.name for node in self.nodes.store.values() if LABEL_MANAGED in node.labels}
        for name in managed | {holder.node for holder in self.holders.store.values()}:
            self.add("holder", name)

    def count_wake(self) -> None:
        self.notes.wake_count += 1

    # -- facts -----------------------------------------------------------------------------------------------

    def agent_nodes(self) -> set[str]:
        return {c.node for c in self.components.store.values() if c.component == COMPONENT_AGENT and c.node}

    def measurement(self, node: str) -> Measurement | None:
        """The node's last measurement, None while its agent is silent."""
        return self.agents.fresh(node)

    def reading(self, node: str, uuid: str) -> GpuReading | None:
        measurement = self.measurement(node)
        return next((g for g in measurement.gpus if g.uuid == uuid), None) if measurement else None

    def demands(self) -> list[Demand]:
        """Every router's last word that is fresh."""
        return [d for d in (self.routers.fresh(name) for name in self.routers.last) if d is not None]

    def demand_known(self) -> bool:
        """Whether every router that lives is heard; without one nobody can ask."""
        return all(self.routers.fresh(name) is not None for name in self.routers.followed())

    def spec_of(self, pool: parse.Pool) -> InferencePoolSpec | None:
        """The pool's spec; where that cannot be read, the last one that could."""
        if pool.spec is not None:
            self.notes.specs[pool.name] = pool.spec
        return self.notes.specs.get(pool.name)

    def ledger(self, node: str) -> Ledger | None:
        return self.ledgers.read(node)

    async def write_ledger(self, node: str, plan: Callable[[Ledger], list[Op]]) -> Refused | None:
        """Applies a pure change to a node's ledger. The refusal, or None when it is in.

        Room that it frees goes in the same write to the engines for whom it was made.
        """
        return await self.ledgers.write(node, plan, self.leader.epoch)

    # -- events ----------------------------------------------------------------------------------------------

    def _named(self, topic: str) -> Callable[[Key, Any, Any], None]:
        def changed(key: Key, old: Any, new: Any) -> None:
            self.add(topic, "/".join(part for part in key if part))
            if new is None:
                self.notes.written.pop(old.uid, None)
            if topic == "pool" and (old is None or new is None or old.spec != new.spec):
                self._pools_changed()

        return changed

    def _pools_changed(self) -> None:
        """Verdicts on policies and on names that two pools share depend on all pools."""
        for policy in self.policies.store.values():
            self.add("policy", policy.name)
        for pool in self.pools.store.values():
            self.add("status", pool.name)

    def _policy_changed(self, key: Key, old: Any, new: Any) -> None:
        for policy in self.policies.store.values():
            self.add("policy", policy.name)

    def _gpu_node_changed(self, key: Key, old: Any, new: Any) -> None:
        self.add("node", key[1])
        self.touch_budgets()
        if self.settings.cache is not None:
            self.add("fetch", ALL)
        if new is None:
            self.ledgers.forget(key[1])
        if old is None or new is None or old.raw["spec"] != new.raw["spec"]:
            for pod in self.pods.store.values():
                if pod.node == key[1] or not pod.node:
                    self.add("engine", "/".join(pod.key))
        if old is None or new is None or old.gpus_key() != new.gpus_key():
            for pool in self.pools.store.values():
                self.add("pool", pool.name)

    def _node_changed(self, key: Key, old: Any, new: Any) -> None:
        if old is None or new is None or old.cordoned != new.cordoned or old.labels != new.labels:
            self.touch_budgets()
            self.add("node", key[1])
            for pool in self.pools.store.values():  # it may be selected now, or no longer
                self.add("pool", pool.name)
        if old is None or new is None or old.ready != new.ready:
            self._aim()
        if old != new and any(LABEL_MANAGED in node.labels for node in (old, new) if node is not None):
            self.add("holder", key[1])

    def _holder_changed(self, key: Key, old: Holder | None, new: Holder | None) -> None:
        for holder in (old, new):
            if holder is not None:
                self.add("holder", holder.node)

    def _pod_changed(self, key: Key, old: Any, new: Any) -> None:
        pod = new or old
        self.add("pool", pod.pool)
        self.add("engine", "/".join(key))
        if new is None:
            self.notes.forget(pod.uid)
            if pod.node:
                self.add("node", pod.node)
        elif old is None or old.node != new.node:
            self.add("node", new.node)

    def _autoscaler_changed(self, key: Key, old: Autoscaler | None, new: Autoscaler | None) -> None:
        for pool in {a.pool for a in (old, new) if a is not None and old != new and a.pool}:
            self.add("pool", pool)

    def _component_changed(self, key: Key, old: Any, new: Any) -> None:
        self._aim()

    def _aim(self) -> None:
        """Follows every agent and router that can answer; a router that goes away counts until it is gone."""
        agents: dict[str, str] = {}
        routers: dict[str, str] = {}
        for c in sorted(self.components.store.values(), key=lambda c: not c.leaving):
            node = self.nodes.store.get(("", c.node))
            if not c.running or not c.address or (c.leaving and (node is None or not node.ready)):
                continue
            if c.component == COMPONENT_AGENT:
                agents[c.node] = f"http://{c.address}:{PORT_AGENT}/v1/measurements"
            else:
                routers[c.key[1]] = f"http://{c.address}:{PORT_ROUTER}/v1/demand"
        self.agents.aim(agents)
        self.routers.aim(routers)

    def touch_budgets(self) -> None:
        """All budgets are worked on together: a node may be in several."""
        self.add("budget", ALL)

    def _measured(self, node: str, old: Measurement | None, new: Measurement) -> None:
        if ("", node) not in self.gpu_nodes.store or old is None:
            self.add("node", node)
        if old is None or limits_in(old) != limits_in(new):
            self.touch_budgets()
        before, after = (memory_in(old) if old else {}), memory_in(new)
        healths = [(g.uuid, g.health) for g in new.gpus]
        sick = old is None or healths != [(g.uuid, g.health) for g in old.gpus]
        for pod in self.pods.store.values():
            if pod.node == node and (sick or before.get(pod.uid) != after.get(pod.uid)):
                self.add("engine", "/".join(pod.key))

    def _demanded(self, router: str, old: Demand | None, new: Demand) -> None:
        before = {p.pool: (p.waiting, p.in_flight) for p in old.pools} if old else {}
        after = {p.pool: (p.waiting, p.in_flight) for p in new.pools}
        changed = [pool for pool in {**before, **after} if before.get(pool) != after.get(pool)]
        if changed:
            self._note_loads(changed)
        for pool in changed:
            self.add("pool", pool)
        if old is None or old.endpoints != new.endpoints:
            self._note_endpoints(old, new)

    def _note_endpoints(self, old: Demand | None, new: Demand) -> None:
        now_s = time.time()
        before = {e.pod_uid: e for e in old.endpoints} if old else {}
        seen = {e.pod_uid: e for e in new.endpoints}
        for pod in self.pods.store.values():
            endpoint = seen.get(pod.uid)
            if endpoint is not None and endpoint.in_flight:
                self.notes.busy_at_s[pod.uid] = now_s
            going = (self.notes.goals.get(pod.uid) or (None,))[0] in (State.ASLEEP, State.ENDED)
            if going and endpoint != before.get(pod.uid):
                self.add("engine", "/".join(pod.key))

    def _note_loads(self, pools: list[str]) -> None:
        """Keeps the load of the last while for the decision to scale down."""
        found = dict.fromkeys(pools, 0)
        for demand in self.demands():
            for pool in demand.pools:
                if pool.pool in found:
                    found[pool.pool] += pool.waiting + pool.in_flight
        for name, load in found.items():
            loads.note(self, name, load, time.time())
            if self.scaling.history.noted(name):
                self.scaling.history.note(name, load, time.time())
