"""What every reconciler reads and writes through: caches, streams, the lease, and notes that a restart may lose."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ingle_core.ledger import Ledger, Op
from ingle_core.power.trail import Trail
from ingle_core.warmpool.facts import Failures, State
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Refused, Written, write
from ingle_kit.names import (
    GPU_NODE,
    INFERENCE_POOL,
    LABEL_COMPONENT,
    LABEL_POOL,
    NODE,
    POD,
    PORT_AGENT,
    PORT_ROUTER,
    POWER_BUDGET,
    ROUTING_POLICY,
)
from ingle_kit.streams import Demand, GpuReading, Measurement
from ingle_kit.watch import Reflector
from ingle_operator import parse
from ingle_operator.engines import EngineClient
from ingle_operator.keys import Key, KeyQueue
from ingle_operator.leader import Leader
from ingle_operator.settings import OperatorSettings
from ingle_operator.subscriptions import Subscriptions

COMPONENT_AGENT = "agent"
COMPONENT_GATEWAY = "gateway"


@dataclass
class Notes:
    """What only this process knows. All of it can be lost: it is learnt again or starts from a safe value."""

    goals: dict[str, tuple[State, str]] = field(default_factory=dict)
    probed: set[str] = field(default_factory=set)
    busy_at_s: dict[str, float] = field(default_factory=dict)
    loads: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    wake_ms: dict[str, int] = field(default_factory=dict)
    start_ms: dict[str, int] = field(default_factory=dict)
    wanted_w: dict[str, tuple[str, int]] = field(default_factory=dict)
    trails: dict[str, Trail] = field(default_factory=dict)
    requeued: dict[str, str] = field(default_factory=dict)
    wake_count: int = 0
    ledger_conflicts: int = 0

    def forget(self, uid: str) -> None:
        """An engine is gone."""
        self.probed.discard(uid)
        for notes in (
            self.goals,
            self.busy_at_s,
            self.troubles,
            self.wake_ms,
            self.start_ms,
            self.wanted_w,
            self.requeued,
        ):
            notes.pop(uid, None)


class World:
    """Wiring happens in `main`; reconcilers get the world and a key."""

    def __init__(
        self, settings: OperatorSettings, kube: Kube, leader: Leader, session: aiohttp.ClientSession
    ) -> None:
        self.settings, self.kube, self.leader, self.session = settings, kube, leader, session
        self.notes = Notes()
        limit_s = settings.lease_duration_s - 2 * settings.lease_renew_s
        self.engines = EngineClient(session, leader.check, limit_s)
        self.started_at_s = time.time()
        self.queue: KeyQueue | None = None
        self.on_reconcile: Callable[[str], None] = lambda topic: None
        self._ledgers: dict[str, Object] = {}
        self.pools = self._reflector(INFERENCE_POOL, parse.pool_of, self._named("pool"))
        self.policies = self._reflector(ROUTING_POLICY, parse.policy_of, self._policy_changed)
        self.budgets = self._reflector(POWER_BUDGET, parse.budget_of, self._named("budget"))
        self.gpu_nodes = self._reflector(GPU_NODE, parse.gpu_node_of, self._gpu_node_changed)
        self.nodes = self._reflector(NODE, parse.node_of, self._node_changed)
        self.pods = self._reflector(POD, parse.engine_pod_of, self._pod_changed, label_selector=LABEL_POOL)
        self.components = self._reflector(
            POD,
            parse.component_of,
            self._component_changed,
            namespace=settings.namespace,
            label_selector=f"{LABEL_COMPONENT} in ({COMPONENT_AGENT},{COMPONENT_GATEWAY})",
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
        )

    def add(self, topic: str, name: str) -> None:
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
        for budget in self.budgets.store.values():
            self.add("budget", budget.name)
        for name in {key[1] for key in self.gpu_nodes.store} | self.agent_nodes():
            self.add("node", name)

    # -- facts -----------------------------------------------------------------------------------------------

    def agent_nodes(self) -> set[str]:
        return {c.node for c in self.components.store.values() if c.component == COMPONENT_AGENT and c.node}

    def measurement(self, node: str) -> Measurement | None:
        """The node's last measurement, None while its agent is silent."""
        return self.agents.fresh(node)

    def reading(self, node: str, uuid: str) -> GpuReading | None:
        measurement = self.measurement(node)
        return next((g for g in measurement.gpus if g.uuid == uuid), None) if measurement else None

    def demands(self) -> Iterable[Demand]:
        """Every router's last word that is fresh."""
        return [d for d in (self.routers.fresh(name) for name in self.routers.last) if d is not None]

    def gpu_node(self, node: str) -> Object | None:
        """The newest GPUNode we know: the cache's, or what our own last write returned."""
        cached = self.gpu_nodes.store.get(("", node))
        written = self._ledgers.get(node)
        if cached is None:
            return None
        if written is None or written["metadata"]["uid"] != cached.raw["metadata"]["uid"]:
            raw: Object = cached.raw
            return raw
        newer = written["spec"]["revision"] > cached.raw["spec"].get("revision", 0)
        chosen: Object = written if newer else cached.raw
        return chosen

    def ledger(self, node: str) -> Ledger | None:
        raw = self.gpu_node(node)
        return Ledger.from_dict(raw["spec"]) if raw else None

    async def write_ledger(self, node: str, plan: Callable[[Ledger], list[Op]]) -> Refused | None:
        """Applies a pure change to a node's ledger, only while the lease lasts. The refusal, or None when it is in."""
        self.leader.check(self.settings.lease_renew_s)
        result = await write(self.kube, node, plan, current=self.gpu_node(node))
        self.notes.ledger_conflicts += result.conflicts
        if isinstance(result, Written):
            self._ledgers[node] = result.obj
            return None
        return result

    # -- events ----------------------------------------------------------------------------------------------

    def _named(self, topic: str) -> Callable[[Key, Any, Any], None]:
        def changed(key: Key, old: Any, new: Any) -> None:
            self.add(topic, "/".join(part for part in key if part))
            if topic == "pool" and (old is None or new is None):
                for policy in self.policies.store.values():
                    self.add("policy", policy.name)

        return changed

    def _policy_changed(self, key: Key, old: Any, new: Any) -> None:
        for policy in self.policies.store.values():
            self.add("policy", policy.name)
        if new is None:
            self.add("policy", "/".join(key))

    def _gpu_node_changed(self, key: Key, old: Any, new: Any) -> None:
        self.add("node", key[1])
        self._touch_budgets()
        for pod in self.pods.store.values():
            if pod.node == key[1] or (not pod.node and pod.uid in self.notes.troubles):
                self.add("engine", "/".join(pod.key))

    def _node_changed(self, key: Key, old: Any, new: Any) -> None:
        if old is None or new is None or old.labels != new.labels:
            self._touch_budgets()
            self.add("node", key[1])

    def _pod_changed(self, key: Key, old: Any, new: Any) -> None:
        pod = new or old
        self.add("pool", pod.pool)
        self.add("engine", "/".join(key))
        if new is None:
            self.notes.forget(pod.uid)
            if pod.node:
                self.add("node", pod.node)

    def _component_changed(self, key: Key, old: Any, new: Any) -> None:
        alive = [c for c in self.components.store.values() if c.alive and c.address]
        self.agents.aim(
            {
                c.node: f"http://{c.address}:{PORT_AGENT}/v1/measurements"
                for c in alive
                if c.component == COMPONENT_AGENT
            }
        )
        self.routers.aim(
            {
                c.key[1]: f"http://{c.address}:{PORT_ROUTER}/v1/demand"
                for c in alive
                if c.component == COMPONENT_GATEWAY
            }
        )

    def _touch_budgets(self) -> None:
        for budget in self.budgets.store.values():
            self.add("budget", budget.name)

    def _measured(self, node: str, old: Measurement | None, new: Measurement) -> None:
        if ("", node) not in self.gpu_nodes.store or old is None:
            self.add("node", node)
        if old is None or _limits(old) != _limits(new):
            self._touch_budgets()
        if old is None or _memory(old) != _memory(new):
            for pod in self.pods.store.values():
                if pod.node == node:
                    self.add("engine", "/".join(pod.key))

    def _demanded(self, router: str, old: Demand | None, new: Demand) -> None:
        before = {p.pool: (p.waiting, p.in_flight) for p in old.pools} if old else {}
        for pool in new.pools:
            if before.get(pool.pool) != (pool.waiting, pool.in_flight):
                self.note_load(pool.pool)
                self.add("pool", pool.pool)
        if old is None or old.endpoints != new.endpoints:
            self._note_endpoints(new)

    def _note_endpoints(self, demand: Demand) -> None:
        now_s = time.time()
        seen = {e.pod_uid: e for e in demand.endpoints}
        for pod in self.pods.store.values():
            endpoint = seen.get(pod.uid)
            if endpoint is None:
                continue
            if endpoint.in_flight:
                self.notes.busy_at_s[pod.uid] = now_s
            if (self.notes.goals.get(pod.uid) or (None,))[0] in (State.ASLEEP, State.ENDED):
                self.add("engine", "/".join(pod.key))

    def note_load(self, pool: str) -> None:
        """Keeps the load of the last while, bounded, for the decision to scale down."""
        load = sum(p.waiting + p.in_flight for d in self.demands() for p in d.pools if p.pool == pool)
        self.notes.loads.setdefault(pool, deque(maxlen=4096)).append((time.time(), load))


def _limits(measurement: Measurement) -> object:
    return [(g.uuid, g.enforced_w, g.health) for g in measurement.gpus], measurement.observed_revision


def _memory(measurement: Measurement) -> object:
    return [(g.uuid, g.processes, g.health) for g in measurement.gpus]
