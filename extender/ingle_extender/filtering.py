"""The filter call: one node for the pod, a fixed text for each other node. Nothing durable happens here."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingle_core.placement import Ask, Assumed, Ranking, rank
from ingle_extender.assumptions import Assumptions, Pending
from ingle_extender.decisions import Decision, Decisions
from ingle_extender.nodes import Nodes
from ingle_extender.wire import FilterArgs, FilterResult, Pod

BAD_ASK = "pod's placement annotation or resource cannot be read"
RESERVED_ELSEWHERE = "pod has its GPUs reserved on another node"


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._assumptions, self._decisions = nodes, assumptions, decisions
        self._silent_s, self._clock = silent_s, clock

    def filter(self, args: FilterArgs) -> FilterResult:
        """Idempotent per pod UID: the last call wins; a pod with a claim is sent where that is."""
        pod, names = args.pod, list(args.node_names or ())
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
        chosen = [] if ranking.node is None else [ranking.node]
        return FilterResult(chosen, ranking.refused())

    def rank(self, ask: Ask, pod_uid: str, names: list[str] | None) -> Ranking:
        """Ranks with the choices for all other pods taken off; remembers nothing."""
        now_s = self._clock()
        assumed = self._assumptions.others(pod_uid, now_s)
        return rank(ask, self._nodes.columns, names, assumed, now_s=now_s, silent_after_s=self._silent_s)

    def pending(self, pod: Pod, ask: Ask, ranking: Ranking) -> Pending | None:
        """The choice as an assumption; None when there is none."""
        if ranking.node is None:
            return None
        host_mib = ask.memory_mib.host if ranking.host_zone is not None else 0
        memory_mib = ask.memory_mib.awake
        uid, node = pod.metadata.uid, ranking.node
        assumed = Assumed(uid, node, ranking.gpus, memory_mib, ask.watts, ranking.host_zone, host_mib)
        return Pending(assumed, ask, ask.pool or pod.pool)

    def _to_reserved(self, pod: Pod, names: list[str], node: str) -> FilterResult:
        found = node in names
        text = "" if found else RESERVED_ELSEWHERE
        decision = Decision(stamp(), "filter", pod.metadata.uid, node if found else None, text=text)
        self._decisions.put(pod.key, decision)
        others = {name: RESERVED_ELSEWHERE for name in names if name != node}
        return FilterResult([node] if found else [], others)

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
