"""The bind call: claim in the node's ledger, then the Binding. Idempotent per pod UID."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from ingle_core.ledger import TRANSITIONS, Holder, Ledger, LedgerError, Op, PodRef, claim, difference, release
from ingle_core.placement import NAMES, RESERVED_ELSEWHERE, TEXTS, GpuAnnotation
from ingle_core.warmpool.cachekey import hardware_of
from ingle_extender.assumptions import Assumptions, Pending
from ingle_extender.decisions import Decision, Decisions
from ingle_extender.filtering import BAD_ASK, Filtering, stamp
from ingle_extender.metrics import Metrics
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.wire import BindArgs, Pod
from ingle_kit.kube import Kube, KubeError, NotFound, Object, Unavailable
from ingle_kit.ledger import Plan, Refused, Written
from ingle_kit.ledgerwriter import LedgerWriter
from ingle_kit.names import ANNOTATION_GPUS, ANNOTATION_HARDWARE, POD

log = logging.getLogger(__name__)

POD_GONE = "pod is gone or is another one of the same name"
BOUND_ELSEWHERE = "pod is bound to another node"
NO_ANSWER = "API server does not answer"
NOT_BOUND = "API server refuses the Binding"
CLAIM_GONE = "claim was released: choose again"
CLAIM_REFUSED = "node's ledger refuses the claim"
_TEXT_OF = {NAMES[reason]: text for reason, text in TEXTS.items()}


class Ledgers(Protocol):
    """Where claims are written."""

    async def write(self, node: str, plan: Plan) -> Written | Refused: ...


class Binding:
    """Writes claims and Bindings; claims of one burst on one node share a write."""

    def __init__(
        self,
        kube: Kube,
        nodes: Nodes,
        assumptions: Assumptions,
        decisions: Decisions,
        filtering: Filtering,
        metrics: Metrics,
        *,
        attempts: int,
        renew_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._nodes, self._assumptions = kube, nodes, assumptions
        self._decisions, self._filtering, self._metrics = decisions, filtering, metrics
        self._clock, self._renew_s = clock, renew_s
        self.ledgers: Ledgers = LedgerWriter(
            kube,
            current=self._known,
            on_written=lambda node, obj: nodes.take(node, Seen.of(obj)),
            attempts=attempts,
            jitter=lambda n: random.uniform(0, min(0.2, 0.01 * 2**n)),
        )
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def bind(self, args: BindArgs) -> str:
        """An empty text, or why the pod is not bound (fixed texts: each new one would requeue the pod)."""
        async with self._lock(f"pod/{args.pod_uid}"):
            try:
                error = await self._bind(args)
            except KubeError as fault:
                log.warning("bind %s/%s to %s: %s", args.pod_namespace, args.pod_name, args.node, fault)
                error = NO_ANSWER if isinstance(fault, Unavailable) else NOT_BOUND
        seen = self._nodes.seen(args.node)
        gpus = seen.node.spec.gpus_of(args.pod_uid) if seen else ()
        decision = Decision(stamp(), "bind", args.pod_uid, None if error else args.node, gpus, error)
        self._decisions.put((args.pod_namespace, args.pod_name), decision)
        return error

    async def _bind(self, args: BindArgs) -> str:
        claimed_on = self._nodes.node_of(args.pod_uid)
        if claimed_on not in (None, args.node):
            return RESERVED_ELSEWHERE
        pending: Pending | str | None = None
        if claimed_on is None:
            pending = await self._choice(args)
        if isinstance(pending, str):
            return pending
        outcome = await self._claim(args, pending)
        self._assumptions.drop([args.pod_uid])
        if isinstance(outcome, Refused):
            log.info(
                "claim of pod %s on %s: %s: %s", args.pod_uid, args.node, outcome.reason, outcome.message
            )
            return _TEXT_OF.get(outcome.reason, CLAIM_GONE if outcome.reason == "NoClaim" else CLAIM_REFUSED)
        return await self._write_binding(args, outcome)

    async def _choice(self, args: BindArgs) -> Pending | str:
        """What filter chose; chosen anew on this node when that is forgotten."""
        pending = self._assumptions.get(args.pod_uid, self._clock())
        if pending is not None and pending.assumed.node == args.node:
            return pending
        pod = await self._live_pod(args)
        if pod is None:
            return POD_GONE
        if pod.spec.node_name:
            return "" if pod.spec.node_name == args.node else BOUND_ELSEWHERE
        try:
            ask = pod.ask()
        except ValueError:
            return BAD_ASK
        ranking = self._filtering.rank(ask, args.pod_uid, [args.node])
        chosen = self._filtering.pending(pod, ask, ranking)
        if chosen is None:
            return TEXTS[ranking.reason(args.node)]
        self._assumptions.put(chosen, self._clock())
        return chosen

    async def _claim(self, args: BindArgs, pending: Pending | None) -> Written | Refused:
        outcome = await self.ledgers.write(
            args.node, lambda ledger: _plan(ledger, args.pod_uid, pending, self._renew_s)
        )
        self._metrics.conflicts.inc(outcome.conflicts)
        if isinstance(outcome, Refused):
            self._metrics.refused.labels(outcome.reason).inc()
        return outcome

    async def _write_binding(self, args: BindArgs, written: Written) -> str:
        gpus = written.ledger.gpus_of(args.pod_uid)
        extra = await self._wanted(args)
        annotations = {} if extra is None else {extra.key: extra.value(gpus)}
        annotations |= {ANNOTATION_GPUS: ",".join(gpus), ANNOTATION_HARDWARE: self._hardware(args.node, gpus)}
        metadata = {"name": args.pod_name, "namespace": args.pod_namespace, "uid": args.pod_uid}
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {**metadata, "annotations": annotations},
            "target": {"apiVersion": "v1", "kind": "Node", "name": args.node},
        }
        try:
            await self._kube.request(
                "POST", POD.path(args.pod_namespace, args.pod_name, "binding"), body=body
            )
        except KubeError as fault:
            return await self._settle(args, written, fault)
        return ""

    def _hardware(self, node: str, gpus: tuple[str, ...]) -> str:
        """What compile caches of these GPUs are made for."""
        seen = self._nodes.seen(node)
        return seen.node.status.hardware(gpus) if seen else hardware_of("", "")

    async def _wanted(self, args: BindArgs) -> GpuAnnotation | None:
        """What the pod wants beside the GPUs; asked of the API server where filter ran in an earlier process."""
        attaching = self._filtering.attaching
        if not attaching.knows(args.pod_uid):
            pod = await self._live_pod(args)
            if pod is not None:
                attaching.saw(pod)
        return attaching.wanted(args.pod_uid)

    async def _settle(self, args: BindArgs, written: Written, fault: KubeError) -> str:
        """After a Binding that was refused or whose answer was lost: the pod itself says what is true."""
        pod = await self._live_pod(args)
        if pod is not None and pod.spec.node_name == args.node:
            return ""
        if pod is None or pod.spec.node_name:
            await self._release(args)
            return POD_GONE if pod is None else BOUND_ELSEWHERE
        log.warning("Binding of %s/%s to %s: %s", args.pod_namespace, args.pod_name, args.node, fault)
        if isinstance(fault, Unavailable):
            return NO_ANSWER  # it may still arrive: the claim stays, and the next try finds it
        if written.changed:
            await self._release(args)
        return NOT_BOUND

    async def _release(self, args: BindArgs) -> None:
        outcome = await self.ledgers.write(args.node, lambda ledger: release(ledger, args.pod_uid))
        if isinstance(outcome, Refused):  # the operator sweeps orphans
            log.warning("claim of pod %s stays on %s: %s", args.pod_uid, args.node, outcome.message)

    async def _live_pod(self, args: BindArgs) -> Pod | None:
        """None when it is gone or another pod has its name."""
        try:
            obj = await self._kube.get(POD, args.pod_name, args.pod_namespace)
        except NotFound:
            return None
        pod = msgspec.convert(obj, Pod)
        return pod if pod.metadata.uid == args.pod_uid else None

    def _known(self, node: str) -> Object | None:
        seen = self._nodes.seen(node)
        return seen.obj if seen else None

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


def _plan(ledger: Ledger, pod_uid: str, pending: Pending | None, renew_s: float) -> list[Op]:
    """The claim at awake charges; one that the pod has already (reserved, or a repeated bind) is only made younger."""
    held = ledger.holder(pod_uid)
    if held is not None:
        return _renewed(ledger, held, renew_s)
    if pending is None:
        raise LedgerError("NoClaim", f"the claim of pod {pod_uid} is gone")
    chosen = pending.assumed
    moving = {pod.uid for pod in ledger.pods if pod.state in TRANSITIONS}
    for gpu in ledger.gpus:
        if gpu.uuid in chosen.gpus and any(held.pod_uid in moving for held in gpu.claims):
            raise LedgerError("TransitionBusy", f"GPU {gpu.uuid} is in a transition")
    return claim(
        ledger,
        PodRef(pod_uid, pending.pool),
        chosen.gpus,
        memory_mib=chosen.memory_mib,
        watts=chosen.watts,
        host_zone=chosen.host_zone,
        host_mib=chosen.host_mib,
        at=stamp(),
    )


def _renewed(ledger: Ledger, held: Holder, renew_s: float) -> list[Op]:
    """A claim without a Binding is swept when it is old enough: one that is about to be bound must not be old.

    What the operator has reserved (that has an epoch) it may give back at any time, so it becomes ours first.
    """
    try:
        age_s = time.time() - datetime.fromisoformat(held.at).timestamp()
    except ValueError:
        age_s = renew_s
    if held.state != "Starting" or (age_s < renew_s and not held.epoch):
        return []
    young = msgspec.structs.replace(held, at=stamp(), epoch=0)
    pods = tuple(young if pod.uid == held.uid else pod for pod in ledger.pods)
    return difference(ledger, msgspec.structs.replace(ledger, pods=pods))
