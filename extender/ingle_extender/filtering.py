"""The filter call: one node for the pod, or a fixed text for each node. Nothing durable happens here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ingle_core.placement import RESERVED_ELSEWHERE, Ask, Assumed, Ranking, rank
from ingle_core.placement.pools import PoolFacts, Pools
from ingle_core.placement.whatif import assumed_of
from ingle_extender.assumptions import Assumptions, Pending
from ingle_extender.attaching import Attaching
from ingle_extender.decisions import Decision, Decisions
from ingle_extender.nodes import Nodes
from ingle_extender.wire import FilterArgs, FilterResult, Pod

BAD_ASK = "pod's placement annotation or resource cannot be read"
SEEN_MAX = 10_000


def stamp() -> str:
    """Now, as RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Filtering:
    """Chooses by the nodes' columns and remembers the choice until a ledger shows it."""

    def __init__(
        self,
        nodes: Nodes,
        assumptions: Assumptions,
        decisions: Decisions,
        *,
        silent_s: float,
        pools: Pools | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._assumptions, self._decisions = nodes, assumptions, decisions
        self._silent_s, self._clock = silent_s, clock
        self.attaching = Attaching(SEEN_MAX)
        self._pools = Pools() if pools is None else pools

    def filter(self, args: FilterArgs) -> FilterResult:
        """Idempotent per pod UID: the last call wins; a pod with a claim is sent where that is.

        Why each other node was not taken is only told where none was: kube-scheduler uses it for nothing else.
        """
        pod, names = args.pod, list(args.node_names or ())
        self.attaching.saw(pod)
        reserved = self._nodes.node_of(pod.metadata.uid)
        if reserved is not None:
            return self._to_reserved(pod, names, reserved)
        try:
            ask = pod.ask()
        except ValueError as error:
            self._decisions.put(pod.key, Decision(stamp(), "filter", pod.metadata.uid, None, text=str(error)))
            return FilterResult([], dict.fromkeys(names, BAD_ASK))
        ranking = self.rank(ask, pod.metadata.uid, names)
        self._remember(pod, ask, ranking, names)
        return FilterResult([], ranking.refused()) if ranking.node is None else FilterResult([ranking.node])

    def rank(self, ask: Ask, pod_uid: str, names: list[str] | None) -> Ranking:
        """Ranks with the choices for all other pods taken off; remembers nothing."""
        return self.rank_beside(ask, names, self.assumed(pod_uid))

    def assumed(self, pod_uid: str) -> list[Assumed]:
        """The choices for all pods but this one that no ledger shows yet."""
        return self._assumptions.others(pod_uid, self._clock())

    def rank_beside(
        self,
        ask: Ask,
        names: list[str] | None,
        assumed: Sequence[Assumed],
        pool: PoolFacts | None = None,
    ) -> Ranking:
        """Ranks with these choices taken off and no others, as if the pool were like `pool`; remembers nothing."""
        now_s = self._clock()
        pools = self._pools
        return rank(
            ask,
            self._nodes.columns,
            names,
            assumed,
            now_s=now_s,
            silent_after_s=self._silent_s,
            context=pools.context(now_s) if pool is None else pools.context_if(ask.pool, pool, now_s),
        )

    def pending(self, pod: Pod, ask: Ask, ranking: Ranking) -> Pending | None:
        """The choice as an assumption; None when there is none."""
        assumed = assumed_of(ask, ranking, pod.metadata.uid)
        return None if assumed is None else Pending(assumed, ask, ask.pool or pod.pool)

    def _to_reserved(self, pod: Pod, names: list[str], node: str) -> FilterResult:
        found = node in names
        text = "" if found else RESERVED_ELSEWHERE
        decision = Decision(stamp(), "filter", pod.metadata.uid, node if found else None, text=text)
        self._decisions.put(pod.key, decision)
        return FilterResult([node]) if found else FilterResult([], dict.fromkeys(names, RESERVED_ELSEWHERE))

    def _remember(self, pod: Pod, ask: Ask, ranking: Ranking, names: list[str]) -> None:
        uid = pod.metadata.uid
        pending = self.pending(pod, ask, ranking)
        if pending is None:
            self._assumptions.drop([uid])
        else:
            self._assumptions.put(pending, self._clock())
        self._decisions.put(
            pod.key, Decision(stamp(), "filter", uid, ranking.node, ranking.gpus, counts=ranking.counts)
        )
