"""Kubernetes objects as the facts that routing decides on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from ingle_core.routing import Permission, Policy, Pool, Question, Warmth
from ingle_kit import names
from ingle_kit.objects.reasons import Reason
from ingle_router.found import Found, found_of

Object = dict[str, Any]
Compile = Callable[[str], Callable[[Question], object]]
"""Compiles a CEL expression; raises ValueError where it is broken."""

LASTING: Final = frozenset({Reason.VARIANT_FITS_NO_GPU, Reason.ENGINE_NEVER_READY})
MAY_SERVE: Final = frozenset({"Starting", "Awake", "Sleeping", "AsleepL1", "AsleepL2", "Spare", "Waking"})
PASSING: Final = frozenset({Reason.INSUFFICIENT_WATTS, Reason.INSUFFICIENT_MEMORY})
PORT_DEFAULT: Final = 8000


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A pool for the decision, what is needed to reach and judge its engines, and what a request finds there."""

    pool: Pool
    port: int
    context_tokens: dict[str, int]
    found: Found = "cold"


@dataclass(frozen=True, slots=True)
class EnginePod:
    """What a pod says about its engine. `version` changes with the pod's awake condition."""

    uid: str
    pool: str
    variant: str
    ip: str
    running: bool
    awake: bool
    ready: bool
    leaving: bool
    version: str


def pool_of(obj: Object, unix_s: float = 0.0) -> PoolSpec:
    """Reads an InferencePool. `unix_s`: the Unix time at which the clock of decisions stood at 0."""
    metadata, spec = obj["metadata"], obj["spec"]
    hold = spec.get("hold") or {}
    obstacle, lasting = _obstacle(obj)
    pool = Pool(
        namespace=metadata["namespace"],
        name=metadata["name"],
        model=spec["model"],
        aliases=tuple(spec.get("aliases") or ()),
        created=metadata.get("creationTimestamp", ""),
        hold_s=float(hold.get("seconds", 60)),
        heartbeat_s=float(hold.get("heartbeatSeconds", 10)),
        waiting_max=int(hold.get("waiting", 500)),
        obstacle=obstacle,
        lasting=lasting,
        engines=tuple(_warmth(e, unix_s) for e in (obj.get("status") or {}).get("engines") or ()),
    )
    port = int((spec.get("engine") or {}).get("port") or PORT_DEFAULT)
    contexts = {v["name"]: int(v.get("contextTokens") or 0) for v in spec.get("variants") or ()}
    return PoolSpec(pool, port, contexts, found_of(obj))


def _warmth(engine: Object, unix_s: float) -> Warmth:
    return Warmth(
        engine.get("state", ""),
        _unix_s(engine.get("since")) - unix_s,
        _seconds(engine.get("wakeMilliseconds")),
        _seconds(engine.get("startMilliseconds")),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _unix_s(time: str | None) -> float:
    """RFC 3339 as Unix seconds; 0, long ago, where there is none that can be read."""
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return 0.0


def _obstacle(obj: Object) -> tuple[str, bool]:
    """Why the pool cannot serve, by its conditions, and whether waiting is no help.

    A pool whose last engines failed is worth a wait, bounded by its hold, while another of them is on its way or asleep.
    """
    now = _conditions(obj)
    stalled, ready = now.get("Stalled", {}), now.get("Ready", {})
    engines = (obj.get("status") or {}).get("engines") or ()
    coming = any(engine.get("state") in MAY_SERVE for engine in engines)
    if stalled.get("status") == "True":
        return stalled.get("reason") or "Stalled", not coming
    reason = ready.get("reason", "")
    if ready.get("status") == "False" and reason in LASTING | PASSING:
        return reason, reason in LASTING and not coming
    return "", False


def policy_of(obj: Object, compile_rule: Compile) -> Policy:
    """Reads a RoutingPolicy. Never raises: a policy left out would open its models to everybody."""
    metadata = obj["metadata"]
    spec = obj.get("spec") or {}
    fallback = spec.get("fallback") or {}
    return Policy(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        models=tuple(str(model) for model in spec.get("models") or ()),
        permissions=tuple(_permission(p, compile_rule) for p in spec.get("permissions") or ()),
        fallbacks=_fallbacks(fallback),
        sooner=fallback.get("when") == "Sooner",
        created=metadata.get("creationTimestamp", ""),
        refused=_refused(_conditions(obj)),
    )


def _fallbacks(fallback: Object) -> tuple[str, ...]:
    first = fallback.get("pool")
    return (first, *(fallback.get("others") or ())) if first else ()


def _refused(conditions: dict[str, Object]) -> str:
    accepted = conditions.get("Accepted", {})
    return f"not accepted: {accepted.get('reason')}" if accepted.get("status") == "False" else ""


def _conditions(obj: Object) -> dict[str, Object]:
    """Conditions by type; those of an older spec say nothing about this one and are left out."""
    generation = obj["metadata"].get("generation")
    return {
        c["type"]: c
        for c in (obj.get("status") or {}).get("conditions") or ()
        if c.get("observedGeneration", generation) == generation
    }


def _permission(rule: Object, compile_rule: Compile) -> Permission:
    def compiled(side: str) -> Callable[[Question], object] | None:
        text = rule.get(side)
        if text is None:
            return None
        try:
            return compile_rule(text)
        except ValueError as error:
            return _broken(str(error))

    return Permission(str(rule.get("name", "")), compiled("allow"), compiled("deny"))


def _broken(why: str) -> Callable[[Question], object]:
    def ask(_: Question) -> NoReturn:
        raise ValueError(why)

    return ask


def engine_of(obj: Object) -> EnginePod:
    """Reads an engine's pod."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    awake = conditions.get(names.GATE_AWAKE, {})
    return EnginePod(
        uid=metadata["uid"],
        pool=f"{metadata['namespace']}/{labels[names.LABEL_POOL]}",
        variant=labels.get(names.LABEL_VARIANT, ""),
        ip=status.get("podIP", ""),
        running=status.get("phase") == "Running",
        awake=awake.get("status") == "True",
        ready=conditions.get("ContainersReady", {}).get("status") != "False",
        leaving="deletionTimestamp" in metadata,
        version=f"{awake.get('status')}/{awake.get('lastTransitionTime')}",
    )
