"""The ledger among two extenders, an operator, agents and engines, whatever dies, lags, gets lost or comes back old.

After every step:
1. No write has raised a sum over its limit: MiB of a GPU, host MiB of a zone, W of a node (foreign use is taken off
   `allocatableMiB`; under a limit that is cut nothing grows). Counted here, not by the rules.
2. A pod stands at most once in a ledger and holds a GPU there; nobody else holds anything.
3. A bound pod has its claim where it is bound.
4. No engine holds more memory than its claim at any moment of a load, a sleep or a wake. One that may draw power has
   its watts, one that may sleep its host memory.
5. One start, sleep or wake a GPU at a time.
6. A write that was made from an old revision, or is made twice, is refused (asserted where it is written).
And whenever all has come to rest and orphans were collected, in all ledgers there is one claim for each bound pod and no
other. An engine whose claim was lost with a ledger is let off 3 and 4 until it has it again; its node's watts, host
memory and transitions are let off for good, since it is charged as awake where that fits.

INGLE_LEDGER_EXAMPLES sets how many histories are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.core.ledger.ledger_actors import EXTENDERS, OPERATOR, ORPHAN_S, Cluster
from tests.core.ledger.ledger_world import FLOOR_W, PARENT_OF, SHAPES, Engine, Pod, capacity_mib

from ingle_core.ledger import Ledger, set_allotment
from ingle_core.placement import Ask, AskMemory
from ingle_core.warmpool.facts import State as Life

EXAMPLES = int(os.environ.get("INGLE_LEDGER_EXAMPLES", "80"))
PODS_MOST = 6
ASKS = st.builds(
    lambda awake, asleep, host, watts, gpus: Ask(
        AskMemory(awake, asleep, host), gpus=gpus, watts=watts, products=("H100",)
    ),
    st.sampled_from([18_000, 38_000, 70_000]),
    st.sampled_from([1_500, 4_000]),
    st.sampled_from([0, 35_000]),
    st.sampled_from([0, 200, 450]),
    st.sampled_from([1, 1, 1, 2]),
)
EXTENDER = st.sampled_from(EXTENDERS)
NODE = st.sampled_from(list(SHAPES))
ANY = st.integers(0, 59)
GOALS = st.sampled_from([Life.AWAKE, Life.ASLEEP, Life.ASLEEP, Life.AWAKE, None, Life.ENDED])
ENDS = st.sampled_from(
    ["bound", "bound", "bound", "claim lost", "binding lost", "binding refused", "binding never sent"]
)


class LedgerMachine(RuleBasedStateMachine):
    """Deals out steps to the cluster and looks at it after each."""

    @initialize(pods=st.lists(st.tuples(ASKS, GOALS, st.integers(0, 8)), min_size=3, max_size=PODS_MOST))
    def begins(self, pods: list[tuple[Ask, Life | None, int]]) -> None:
        self.made = 0
        self.cluster = Cluster(look=lambda: None)
        self.cluster.look = self.all_of_it_holds
        for n, (ask, goal, turns) in enumerate(pods):
            self.pods_are_made([ask])
            self.a_pod_goes_its_way(n, EXTENDERS[n % 2], goal, turns)

    def pick(self, n: int, wanted: Callable[[Pod], object]) -> Pod | None:
        found = [pod for pod in self.cluster.pods.values() if wanted(pod)]
        return found[n % len(found)] if found else None

    # -- pods

    @precondition(lambda self: len(self.cluster.pods) < PODS_MOST - 1)
    @rule(asks=st.lists(ASKS, min_size=1, max_size=2))
    def pods_are_made(self, asks: list[Ask]) -> None:
        for ask in asks:
            self.made += 1
            self.cluster.pods[f"p{self.made}"] = Pod(f"p{self.made}", ask)

    @rule(n=ANY)
    def a_user_deletes_a_pod(self, n: int) -> None:
        pod = self.pick(n, lambda pod: True)
        if pod is not None:
            pod.deleting = True
            self.goes(pod)

    def goes(self, pod: Pod) -> None:
        """A pod is gone at once where nothing runs."""
        if pod.engine is None:
            self.cluster.pods.pop(pod.uid, None)

    @rule(who=EXTENDER, n=ANY, end=ENDS, meanwhile=st.booleans())
    def an_extender_places_a_pod(self, who: str, n: int, end: str, meanwhile: bool) -> None:
        pod = self.pick(n, lambda pod: not pod.node)
        name = self.cluster.filters(who, pod) if pod is not None else None
        if pod is not None and name is not None:
            if meanwhile:  # another one is faster
                self.an_extender_places_a_pod(EXTENDERS[who == EXTENDERS[0]], n // 2, end, False)
            self.cluster.binds(who, pod, name, end)

    @rule(who=EXTENDER, n=ANY)
    def an_extender_chooses_and_no_bind_follows(self, who: str, n: int) -> None:
        pod = self.pick(n, lambda pod: not pod.node)
        if pod is not None:
            self.cluster.filters(who, pod)

    @rule(n=ANY)
    def the_operator_reserves_for_a_pod(self, n: int) -> None:
        pod = self.pick(n, lambda pod: not pod.node)
        if pod is not None:
            self.cluster.reserves(pod)

    @rule(who=st.sampled_from([*EXTENDERS, OPERATOR]))
    def somebody_dies_and_starts_anew(self, who: str) -> None:
        self.cluster.starts(who)

    @rule(who=st.sampled_from([*EXTENDERS, OPERATOR]), name=NODE)
    def a_watch_delivers(self, who: str, name: str) -> None:
        self.cluster.views[who][name] = self.cluster.nodes[name].seen()

    # -- engines

    @rule(n=ANY, who=EXTENDER, goal=GOALS, turns=st.integers(1, 8))
    def a_pod_goes_its_way(self, n: int, who: str, goal: Life | None, turns: int) -> None:
        """Several steps after each other with nothing lost, of which each may be the last."""
        pod = self.pick(n, lambda pod: not pod.deleting)
        for _ in range(turns if pod is not None else 0):
            assert pod is not None
            if not pod.node:
                name = self.cluster.filters(who, pod)
                if name is None:
                    return
                self.cluster.binds(who, pod, name, "bound")
                self.a_watch_delivers(OPERATOR, name)
            elif pod.engine is None:
                self.starts(pod, 100 * (n % 7) - 200)
            else:
                self.moves_memory(pod, 4)
                self.works_on(pod, goal, 3, False)

    @rule(n=ANY, more=st.integers(-400, 700))
    def a_container_starts(self, n: int, more: int) -> None:
        pod = self.pick(n, lambda pod: pod.node and pod.engine is None)
        if pod is not None:
            self.starts(pod, more)

    def starts(self, pod: Pod, more: int) -> None:
        if not self.cut_off(pod):
            pod.engine = Engine(pod.gpus, keeps=pod.ask.memory_mib.asleep + more)

    @rule(n=ANY, part=st.integers(1, 4))
    def an_engine_takes_or_gives_back_memory(self, n: int, part: int) -> None:
        pod = self.pick(n, lambda pod: pod.engine is not None)
        if pod is not None:
            self.moves_memory(pod, part)

    def moves_memory(self, pod: Pod, part: int) -> None:
        assert pod.engine is not None
        engine, awake = pod.engine, pod.ask.memory_mib.awake
        engine.holds = engine.keeps if engine.asleep else max(engine.holds, awake * part // 4)
        if engine.asleep is None and engine.holds == awake:
            engine.asleep = False

    @rule(n=ANY, goal=GOALS, steps=st.integers(1, 6), lost=st.integers(0, 4))
    def the_operator_works_on_an_engine(self, n: int, goal: Life | None, steps: int, lost: int) -> None:
        pod = self.pick(n, lambda pod: pod.node and not pod.deleting)
        if pod is not None:
            self.works_on(pod, goal, steps, lost == 1)

    def works_on(self, pod: Pod, goal: Life | None, steps: int, lost: bool) -> None:
        self.cluster.works_on(pod, goal, steps, lost)
        if pod.deleting:
            self.goes(pod)

    @rule(n=ANY)
    def a_kubelet_ends_an_engine(self, n: int) -> None:
        pod = self.pick(n, lambda pod: pod.deleting and not self.cut_off(pod))
        if pod is not None:
            pod.engine = None
            self.goes(pod)
        for node in self.cluster.nodes.values():
            if not node.cut_off:
                node.ghosts.clear()

    def cut_off(self, pod: Pod) -> bool:
        return bool(pod.node) and self.cluster.nodes[pod.node].cut_off

    # -- nodes

    @rule(name=NODE)
    def an_agent_tells(self, name: str) -> None:
        if not self.cluster.nodes[name].cut_off:
            self.cluster.nodes[name].tell(self.cluster.engines_on(name))

    @rule(name=NODE, who=EXTENDER, n=ANY)
    def the_operator_works_on_a_node(self, name: str, who: str, n: int) -> None:
        self.cluster.reconciles(name, meanwhile=self.a_bind(who, n))

    @rule(who=EXTENDER, n=ANY)
    def the_operator_gives_back_what_it_reserved(self, who: str, n: int) -> None:
        pod = self.pick(n, lambda pod: not pod.node)
        if pod is not None:
            self.cluster.gives_back(pod, self.a_bind(who, n))

    def a_bind(self, who: str, n: int) -> Callable[[], None]:
        """What an extender does between another one's look and its write, half of the time."""
        pod = self.pick(n, lambda pod: not pod.node) if n % 2 else None
        name = self.cluster.filters(who, pod) if pod is not None else None

        def binds() -> None:
            if pod is not None and name is not None:
                self.cluster.binds(who, pod, name, "bound")

        return binds

    @rule(name=NODE, n=ANY, mib=st.sampled_from([0, 0, 9_000, 45_000]))
    def strangers_take_or_leave_memory(self, name: str, n: int, mib: int) -> None:
        gpus = (*SHAPES[name].whole, *SHAPES[name].instances)
        uuid = gpus[n % len(gpus)]
        engines = self.cluster.engines_on(name).values()
        free = capacity_mib(uuid) - sum(e.holds for e in engines if uuid in e.gpus)
        self.cluster.nodes[name].foreign[uuid] = max(0, min(mib, free))

    @rule(name=NODE, watts=st.sampled_from([None, 1500, 900, 600, 2 * FLOOR_W]))  # less cannot be enforced
    def watts_are_allotted(self, name: str, watts: int | None) -> None:
        self.cluster.writes(OPERATOR, name, lambda ledger: set_allotment(ledger, watts, watts))

    @rule(name=NODE)
    def a_node_is_cut_off_or_comes_back(self, name: str) -> None:
        node = self.cluster.nodes[name]
        node.cut_off = not node.cut_off

    @rule(n=ANY)
    def a_pod_of_a_lost_node_is_forgotten(self, n: int) -> None:
        pod = self.pick(n, self.cut_off)
        if pod is not None:
            if pod.engine is not None:
                self.cluster.nodes[pod.node].ghosts[pod.uid] = pod.engine
            del self.cluster.pods[pod.uid]

    @rule(name=NODE, back=st.integers(0, 12), seen=st.booleans())
    def a_ledger_is_restored_from_a_backup_or_lost(self, name: str, back: int, seen: bool) -> None:
        node = self.cluster.nodes[name]
        empty = Ledger(1).to_dict()
        node.replace(node.backups[-back] if 0 < back <= len(node.backups) else empty)
        for pod in self.cluster.bound_to(name):
            pod.unclaimed = True
        if seen:  # by all but the operator
            self.an_agent_tells(name)
            for who in EXTENDERS:
                self.a_watch_delivers(who, name)

    @rule(seconds=st.sampled_from([1, 25, 65]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.now_s += seconds

    # -- what must hold

    @invariant()
    def all_of_it_holds(self) -> None:
        self.nothing_grew_over_its_limit()
        self.holders_and_claims_agree()
        self.one_transition_a_gpu()
        self.what_outlived_its_pod_is_not_given_away()
        for pod in self.cluster.pods.values():
            if pod.node:
                self.no_engine_holds_more_than_its_claim(pod)

    def nothing_grew_over_its_limit(self) -> None:
        assert [node.broken for node in self.cluster.nodes.values()] == ["", ""]

    def holders_and_claims_agree(self) -> None:
        for node in self.cluster.nodes.values():
            ledger = node.ledger
            uids = [holder.uid for holder in ledger.pods]
            held = [c.pod_uid for gpu in ledger.gpus for c in gpu.claims]
            assert len(uids) == len(set(uids))
            assert set(held) == set(uids)
            assert {c.pod_uid for zone in ledger.zones for c in zone.claims} <= set(uids)
            assert all(len(gpu.claims) == len({c.pod_uid for c in gpu.claims}) for gpu in ledger.gpus)

    def no_engine_holds_more_than_its_claim(self, pod: Pod) -> None:
        node, engine = self.cluster.nodes[pod.node], pod.engine
        claims = {g.uuid: c for g in node.ledger.gpus for c in g.claims if c.pod_uid == pod.uid}
        asleep = (
            engine is not None and engine.asleep and engine.holds <= engine.keeps
        )  # and has given back its memory
        may_take = engine.keeps if engine is not None and asleep else pod.ask.memory_mib.awake
        if all(uuid in claims and claims[uuid].memory_mib >= may_take for uuid in pod.gpus):
            pod.unclaimed = False
        if pod.unclaimed:
            return
        assert node.ledger.holder(pod.uid)
        assert all(engine is None or claims[uuid].memory_mib >= engine.holds for uuid in pod.gpus)
        if node.was_restored:
            return
        if engine is not None and engine.asleep is not True:
            assert all(claims[PARENT_OF.get(uuid, uuid)].watts >= pod.ask.watts for uuid in pod.gpus)
        hosts = [c.memory_mib for z in node.ledger.zones for c in z.claims if c.pod_uid == pod.uid]
        assert sum(hosts) == pod.ask.memory_mib.host

    def what_outlived_its_pod_is_not_given_away(self) -> None:
        for node in self.cluster.nodes.values():
            left = {uid for uid, engine in node.ghosts.items() if engine.holds} - node.let_go
            assert node.was_restored or left <= {holder.uid for holder in node.ledger.pods}

    def one_transition_a_gpu(self) -> None:
        for node in self.cluster.nodes.values():
            states = {holder.uid: holder.state for holder in node.ledger.pods}
            for gpu in node.ledger.gpus if not node.was_restored else ():
                moving = [c for c in gpu.claims if states[c.pod_uid] in ("Starting", "Sleeping", "Waking")]
                assert len(moving) <= 1 or gpu.uuid in PARENT_OF.values()

    @rule()
    def all_comes_to_rest(self) -> None:
        """Every loop runs a few times with nothing lost; then each bound pod holds something in one place, nobody else."""
        cluster = self.cluster
        for node in cluster.nodes.values():
            node.cut_off = False
            node.foreign.clear()
        for _ in range(PODS_MOST + 2):
            cluster.now_s += ORPHAN_S
            for pod in list(cluster.pods.values()):
                if pod.node and not pod.deleting:
                    self.works_on(pod, None, 6, False)
                if pod.deleting:
                    pod.engine = None
                    self.goes(pod)
                elif pod.engine is not None:
                    self.moves_memory(pod, 4)
            for name, node in cluster.nodes.items():
                node.ghosts.clear()
                node.tell(cluster.engines_on(name))
                cluster.views[OPERATOR][name] = node.seen()
                cluster.reconciles(name)
        held = [(holder.uid, n.name) for n in cluster.nodes.values() for holder in n.ledger.pods]
        assert sorted(held) == sorted((pod.uid, pod.node) for pod in cluster.pods.values() if pod.node)

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.all_comes_to_rest()


LedgerMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLedgerInACluster = LedgerMachine.TestCase
