"""Who reads and writes ledgers in test_state_machine.py: extenders and the operator, each with what it knows.

What they decide is the core's (and the operator's pure parts); here stands only what shells add: the order of writes,
and what is remembered and may be old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
from tests.core.ledger.ledger_world import SHAPES, Answer, Engine, Node, Pod, Seen

from ingle_core.facts import Columns
from ingle_core.ledger import (
    TRANSITIONS,
    Holder,
    Ledger,
    LedgerError,
    Op,
    PodRef,
    State,
    claim,
    difference,
    move,
    release,
)
from ingle_core.placement import Assumed, rank
from ingle_core.placement.whatif import assumed_of
from ingle_core.warmpool.facts import State as Life
from ingle_core.warmpool.lifecycle import Act, EngineFacts, Limits, charge_mib, step
from ingle_kit.objects import GPUNodeStatus, timestamp
from ingle_operator.giveway import Reservation
from ingle_operator.need import Need
from ingle_operator.parse import EnginePod, seconds_of
from ingle_operator.reconcile.rebuild import rebuilt, taken_over

ORPHAN_S, ORPHAN_MIN_S, RENEW_S, ASSUMED_S = 60.0, 1.0, 20.0, 30.0
LIMITS = Limits(start_s=1e9, sleep_s=120.0, wake_s=1e9, drain_s=1e9)
EXTENDERS, OPERATOR = ("extender-1", "extender-2"), "operator"
Plan = Callable[[Ledger], list[Op]]


class LostError(Exception):
    """The answer to a write did not arrive, though the write did."""


class Cluster:
    """Two nodes with empty ledgers, no pods, and everybody just started. `look` is called at every moment."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look
        self.now_s = 1_000.0
        self.pods: dict[str, Pod] = {}
        self.nodes = {name: Node(name) for name in SHAPES}
        self.views: dict[str, dict[str, Seen]] = {}
        self.assumed: dict[str, dict[str, tuple[float, Assumed]]] = {}
        for node in self.nodes.values():
            node.spec = Ledger(1, watts_allotted=900).to_dict()
            node.tell({})
        self.starts(OPERATOR)
        for name in self.nodes:
            self.reconciles(name)
        for who in EXTENDERS:
            self.starts(who)

    def starts(self, who: str) -> None:
        """Knows what the API server has, and nothing else."""
        self.views[who] = {name: node.seen() for name, node in self.nodes.items()}
        if who == OPERATOR:
            self.probed: set[str] = set()
            self.sleep_entered: set[str] = set()
            self.sleep_sent: set[str] = set()
            self.quiet_at_s: dict[str, float] = {}
        else:
            self.assumed[who] = {}

    def writes(self, who: str, name: str, plan: Plan, lost: bool = False) -> Ledger | None:
        """As `ingle_kit.ledger.write`: by what is known, then by what is read. None: refused. Raises LostError."""
        node = self.nodes[name]
        for known in (self.views[who][name], node.seen()):
            live = (known.uid, known.spec) == (node.uid, node.spec)
            try:
                ops = plan(known.ledger)
            except LedgerError:
                ops = []
                if live:
                    return None
            if not ops and live:
                return known.ledger
            if not ops:
                continue
            answer = node.patch(known, ops)
            assert (answer is Answer.STALE) != live
            if answer is Answer.REFUSED:
                return None
            if answer is Answer.WRITTEN:
                assert node.patch(known, ops) is Answer.STALE  # made twice it is refused
                self.look()
                if lost:
                    raise LostError
                self.views[who][name] = node.seen()
                return node.ledger
        raise AssertionError("what was just read is stale")

    def bound_to(self, name: str) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.node == name]

    def engines_on(self, name: str) -> dict[str, Engine]:
        running = {pod.uid: pod.engine for pod in self.bound_to(name) if pod.engine is not None}
        return running | self.nodes[name].ghosts

    def measured(self, name: str, uid: str) -> bool:
        """Whether the agent sees memory of that pod."""
        engine = self.engines_on(name).get(uid)
        return engine is not None and engine.holds > 0

    def columns(self, who: str) -> Columns:
        columns = Columns(nodes=2, gpus=4, zones=1)
        for name, seen in self.views[who].items():
            whole = all(seen.ledger.holder(pod.uid) for pod in self.bound_to(name))
            columns.update(name, seen.facts(not self.nodes[name].cut_off, whole))
        return columns

    # -- an extender

    def filters(self, who: str, pod: Pod) -> str | None:
        """The node that it would answer with."""
        for name, seen in self.views[who].items():
            if seen.ledger.holder(pod.uid):
                return name
        known = self.assumed[who]
        for uid, (until_s, _) in list(known.items()):
            if until_s <= self.now_s or uid == pod.uid:
                del known[uid]
        ranking = rank(pod.ask, self.columns(who), None, [a for _, a in known.values()], now_s=0.0)
        chosen = assumed_of(pod.ask, ranking, pod.uid)
        if chosen is not None:
            known[pod.uid] = (self.now_s + ASSUMED_S, chosen)
        return ranking.node

    def binds(self, who: str, pod: Pod, name: str, end: str) -> None:
        """Claim, then Binding; after one that was refused the pod itself says what is true."""
        chosen = self.assumed[who].get(pod.uid, (0.0, None))[1]
        had = self.nodes[name].ledger.holder(pod.uid)
        try:
            ledger = self.writes(who, name, partial(self._claimed, pod, chosen), end == "claim lost")
        except LostError:
            return
        self.assumed[who].pop(pod.uid, None)
        if ledger is None or ledger.holder(pod.uid) is None:
            return
        if pod.node not in ("", name) or (end == "binding refused" and had is None):
            self.writes(who, name, partial(release, pod_uid=pod.uid))
        elif end not in ("binding refused", "binding never sent") and not pod.node:
            pod.node, pod.gpus = name, ledger.gpus_of(pod.uid)

    def _claimed(self, pod: Pod, chosen: Assumed | None, ledger: Ledger) -> list[Op]:
        held = ledger.holder(pod.uid)
        if held is not None:
            young = self.now_s - seconds_of(held.at) < RENEW_S
            if held.state != "Starting" or (young and not held.epoch):
                return []
            mine = msgspec.structs.replace(held, at=self.stamp(), epoch=0)
            pods = tuple(mine if one.uid == pod.uid else one for one in ledger.pods)
            return difference(ledger, msgspec.structs.replace(ledger, pods=pods))
        if chosen is None or busy(ledger, chosen.gpus):
            raise LedgerError("NoClaim", "choose again")
        return claim(
            ledger,
            PodRef(pod.uid, "a/b"),
            chosen.gpus,
            memory_mib=chosen.memory_mib,
            watts=chosen.watts,
            host_zone=chosen.host_zone,
            host_mib=chosen.host_mib,
            at=self.stamp(),
        )

    def stamp(self) -> str:
        """Milliseconds, as extenders write times; the operator writes seconds."""
        return timestamp(self.now_s).replace("Z", ".000Z")

    # -- the operator

    def reserves(self, pod: Pod) -> None:
        """Room for a pod without a node, in the name of its UID."""
        if any(seen.ledger.holder(pod.uid) for seen in self.views[OPERATOR].values()):
            return
        chosen = assumed_of(pod.ask, rank(pod.ask, self.columns(OPERATOR), now_s=0.0), pod.uid)
        if chosen is None:
            return
        mib, watts, zone = chosen.memory_mib, chosen.watts, (chosen.host_zone, chosen.host_mib)
        kept = Reservation(pod.uid, "a/b", chosen.node, chosen.gpus, "Starting", mib, mib, watts, *zone)
        self.writes(OPERATOR, chosen.node, lambda ledger: kept.change(ledger, 1, timestamp(self.now_s)))

    def reconciles(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """A node's GPUs, claims that were lost, and claims that belong to nobody; `meanwhile` others act."""
        node, seen = self.nodes[name], self.views[OPERATOR][name]
        status = GPUNodeStatus.model_validate(seen.status)
        running = self.bound_to(name)
        if status.gpus:
            if not all(seen.ledger.holder(pod.uid) for pod in running):
                pods = [engine_pod(pod) for pod in running]
                plan = partial(rebuilt, status=status, managed=False, pods=pods, epoch=1, now_s=self.now_s)
                self.writes(OPERATOR, name, plan)
            else:
                self.writes(OPERATOR, name, partial(taken_over, status=status, managed=False))
        orphans = [h for h in self.views[OPERATOR][name].ledger.pods if self.orphan(h, name)]
        meanwhile()
        node.let_go |= {holder.uid for holder in orphans if node.cut_off}
        for holder in orphans:
            self.writes(OPERATOR, name, partial(release, pod_uid=holder.uid, judged_at=holder.at))

    def orphan(self, holder: Holder, name: str) -> bool:
        pod = self.pods.get(holder.uid)
        age_s = self.now_s - seconds_of(holder.at)
        left = age_s >= ORPHAN_MIN_S if pod is None else pod.node != name and age_s >= ORPHAN_S
        return left and (self.nodes[name].cut_off or not self.measured(name, holder.uid))

    def gives_back(self, pod: Pod, meanwhile: Callable[[], None]) -> None:
        """What it has reserved for a pod that the scheduler puts elsewhere."""
        for name, seen in self.views[OPERATOR].items():
            holder = seen.ledger.holder(pod.uid)
            if holder is not None and holder.epoch and not pod.node:
                meanwhile()
                self.writes(OPERATOR, name, partial(release, pod_uid=pod.uid, judged_at=holder.at))
                return

    def works_on(self, pod: Pod, goal: Life | None, steps: int, lost: bool) -> None:
        """Up to so many steps of an engine's life."""
        for _ in range(steps):
            facts = self.engine_facts(pod)
            taken = step(facts, goal, LIMITS, self.now_s)
            self.look()
            if taken.act is Act.WAIT or not self._does(pod, facts, taken.act, taken.to, lost):
                return

    def engine_facts(self, pod: Pod) -> EngineFacts:
        holder = self.views[OPERATOR][pod.node].ledger.holder(pod.uid)
        state = Life(holder.state) if holder else Life.PENDING
        here = pod.engine if not self.nodes[pod.node].cut_off else None
        if state is Life.SLEEPING and not pod.gate:
            self.quiet_at_s.setdefault(pod.uid, self.now_s)
        return EngineFacts(
            state=state,
            since_s=0.0,
            bound=True,
            running=here is not None,
            ready=here is not None and here.asleep is not None,
            ended=False,
            gate=pod.gate,
            asleep=here.asleep if here else None,
            probed=pod.uid in self.probed,
            drained=not pod.gate,
            measured_mib=here.holds if here else None,
            residue_mib=pod.ask.memory_mib.asleep,
            quiet_at_s=self.quiet_at_s.get(pod.uid),
            sleep_sent=pod.uid in self.sleep_sent or pod.uid not in self.sleep_entered,
        )

    def _does(self, pod: Pod, facts: EngineFacts, act: Act, to: Life | None, lost: bool) -> bool:
        """One step. False: no more for now."""
        if act is Act.MOVE and to is not None:
            return self._moves(pod, facts, to, lost)
        if act is Act.DELETE:
            pod.deleting = True
            return False
        if act is Act.PROBE:
            self.probed.add(pod.uid)
        elif act in (Act.OPEN_GATE, Act.CLOSE_GATE):
            pod.gate = act is Act.OPEN_GATE
        elif act is Act.CALL_SLEEP and pod.engine:
            self.sleep_sent.add(pod.uid)
            pod.engine.asleep = True
        elif act is Act.CALL_WAKE and pod.engine:
            pod.engine.asleep, pod.engine.holds = False, pod.ask.memory_mib.awake
            self.look()
        return True

    def _moves(self, pod: Pod, facts: EngineFacts, to: Life, lost: bool) -> bool:
        if to is Life.WAKING and facts.asleep is not False and self.nodes[pod.node].cut_off:
            return False
        memory, watts = pod.ask.memory_mib, 0 if to is Life.ASLEEP else pod.ask.watts
        mib = charge_mib(to, memory.awake, memory.asleep, facts.measured_mib)

        def change(ledger: Ledger) -> list[Op]:
            if ledger.holder(pod.uid) is None:
                return []
            if to in (Life.WAKING, Life.SLEEPING) and busy(ledger, pod.gpus, beside=pod.uid):
                raise LedgerError("TransitionBusy", "another engine on its GPU is in transition")
            at = timestamp(self.now_s)
            return move(ledger, pod.uid, cast(State, to.value), memory_mib=mib, watts=watts, at=at)

        try:
            ledger = self.writes(OPERATOR, pod.node, change, lost)
        except LostError:
            return False
        if ledger is None:
            pod.deleting |= facts.state is Life.ASLEEP and facts.asleep is False
            return False
        self.quiet_at_s.pop(pod.uid, None)
        self.sleep_sent.discard(pod.uid)
        (self.sleep_entered.add if to is Life.SLEEPING else self.sleep_entered.discard)(pod.uid)
        return True


def busy(ledger: Ledger, gpus: Sequence[str], beside: str = "") -> bool:
    """Whether another pod on one of these GPUs is in transition."""
    moving = {pod.uid for pod in ledger.pods if pod.state in TRANSITIONS} - {beside}
    return any(c.pod_uid in moving for gpu in ledger.gpus if gpu.uuid in gpus for c in gpu.claims)


def engine_pod(pod: Pod) -> EnginePod:
    """A pod as the operator reads it."""
    memory = pod.ask.memory_mib
    words: dict[str, Any] = dict.fromkeys(("variant", "revision", "address"), "")
    return EnginePod(
        key=("a", pod.uid),
        uid=pod.uid,
        pool="a/b",
        node=pod.node,
        gpus=pod.gpus,
        phase="Running",
        ready=pod.engine is not None and pod.engine.asleep is not None,
        gate=pod.gate,
        deleting=pod.deleting,
        created_at_s=0.0,
        need=Need(memory.awake, memory.asleep, memory.host, pod.ask.watts),
        **words,
    )
