"""The whole decision, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ingle_core.routing.decisions import Decision, Hold, Refuse, Serve
from ingle_core.routing.directory import Directory
from ingle_core.routing.facts import Caller, Load, Policy, Pool, Question, Request
from ingle_core.routing.permit import permit
from ingle_core.routing.pick import candidates, pick
from ingle_core.routing.soonest import AWAKE, Readiness, readiness, retry_after_s
from ingle_core.routing.tenants import gives_way, tenant_of


def route(
    request: Request, directory: Directory, loads: Mapping[str, Load], now_s: float, tie: float
) -> Decision:
    """Identify, permit, estimate, candidates, pick, hold; a fallback starts again at permit.

    `loads` by pool key; `now_s` on the clock of `request.wait`, `Endpoint.failing_until_s` and `Warmth.since_s`;
    `tie` in [0, 1).
    """
    if request.caller is None:
        return Refuse(401, "invalid_api_key", "Send a valid token: Authorization: Bearer TOKEN.")
    pool = directory.resolve(request.model)
    if pool is None:
        return Refuse(404, "model_not_found", f"The model {request.model[:200]!r} does not exist.")
    denied = _denied(request.caller, request, directory, pool)
    if denied is not None:
        return denied
    first = _offer(request, pool, loads, now_s, tie)
    if isinstance(first, Serve) or request.subset is not None:
        return first
    policy = next((p for p in directory.policies_of(pool) if p.fallbacks), None)
    if policy is None or (isinstance(first, Hold) and not pool.obstacle and not policy.sooner):
        return first
    others, notes = _others(request, request.caller, directory, policy, pool, loads, now_s, tie)
    return _soonest(request, pool, first, others, notes, now_s)


def _denied(caller: Caller, request: Request, directory: Directory, pool: Pool) -> Refuse | None:
    verdict = permit(directory.policies_of(pool), Question(caller, pool.model, request.path))
    if verdict.allowed:
        return None
    message = f"{caller.name} may not use the model {pool.model!r}: {verdict.reason}."
    return Refuse(403, "permission_denied", message, reasons=(verdict.reason,), pool=pool.key)


def _offer(request: Request, pool: Pool, loads: Mapping[str, Load], now_s: float, tie: float) -> Decision:
    """What this pool alone can do for the request."""
    load = loads.get(pool.key, Load())
    able = candidates(load.endpoints, request.subset, request.prompt_tokens)
    if able:
        rewrite = None if request.model == pool.model else pool.model
        chosen = pick(able, now_s, tie)
        reason = f"{chosen.in_flight} in flight, the least of {len(able)}"
        return Serve(pool.key, chosen, rewrite, (reason,))
    if request.subset is not None:
        return _unavailable(pool, now_s, "has no endpoint among those that the gateway allows")
    if pool.lasting:
        return _unavailable(pool, now_s, f"cannot serve ({pool.obstacle})", "pool_cannot_serve")
    limit_s = pool.hold_s if request.wait is None else request.wait.until_s - now_s
    because = f" ({pool.obstacle})" if pool.obstacle else ""
    if limit_s <= 0:
        return _unavailable(pool, now_s, f"has no awake engine and the time to wait is over{because}")
    reasons = ("no awake engine", pool.obstacle) if pool.obstacle else ("no awake engine",)
    if load.waiting < pool.waiting_max or (request.wait is not None and request.wait.pool == pool.key):
        return Hold(pool.key, limit_s, reasons)
    return _full(request, pool, load, limit_s, reasons, now_s)


def _full(
    request: Request, pool: Pool, load: Load, limit_s: float, reasons: tuple[str, ...], now_s: float
) -> Decision:
    """A full room: who holds more of it than the newcomer gives way. 503 where nobody can say that waiting would help."""
    if not pool.waiting_max:
        return _unavailable(pool, now_s, "has no awake engine and no request may wait for one")
    most = None if request.caller is None else gives_way(load.shares, tenant_of(request.caller))
    if most is not None:
        return Hold(pool.key, limit_s, (*reasons, f"{most} has the most places and gives up one"), most)
    if pool.obstacle:
        what = f"has no awake engine ({pool.obstacle}), and {load.waiting} requests wait for one already"
        return _unavailable(pool, now_s, what)
    message = f"{load.waiting} requests already wait for the model {pool.model!r}."
    again_s = retry_after_s(pool, now_s)
    return Refuse(429, "waiting_room_full", message, again_s, ("waiting room full",), pool.key)


def _others(
    request: Request,
    caller: Caller,
    directory: Directory,
    policy: Policy,
    wanted: Pool,
    loads: Mapping[str, Load],
    now_s: float,
    tie: float,
) -> tuple[list[tuple[Pool, Decision]], list[str]]:
    """What the policy's other pools offer, best first; and why the rest of them do not."""
    offers: list[tuple[Pool, Decision]] = []
    notes: list[str] = []
    for name in policy.fallbacks:
        pool = directory.pools.get(f"{policy.namespace}/{name}")
        if pool is None or pool.key == wanted.key:
            continue
        denied = _denied(caller, request, directory, pool)
        offer = denied or _offer(request, pool, loads, now_s, tie)
        if denied is not None:
            notes.append(f"fallback {pool.key}: {denied.reasons[0]}")
        elif isinstance(offer, Refuse) or (isinstance(offer, Hold) and pool.obstacle):
            notes.append(f"fallback {pool.key} cannot serve either")
        else:
            offers.append((pool, offer))
    return offers, notes


def _soonest(
    request: Request,
    wanted: Pool,
    first: Decision,
    others: list[tuple[Pool, Decision]],
    notes: list[str],
    now_s: float,
) -> Decision:
    """Awake, or else soonest awake; the pool asked for where that is equal. Who waits already stays where it is."""
    unable = isinstance(first, Refuse) or bool(wanted.obstacle)
    offers = others if unable else [(wanted, first), *others]
    if not offers:
        return _because(first, *notes)
    place = None if request.wait is None else request.wait.pool
    ranks = [_rank(pool, offer, place, now_s) for pool, offer in offers]
    least = min(range(len(offers)), key=lambda at: (ranks[at], at))
    pool, chosen = offers[least]
    if unable:
        return _because(chosen, f"{wanted.key} cannot serve: {', '.join(first.reasons)}")
    if pool is wanted:
        return first
    soon, own = ranks[least][1], readiness(wanted, now_s)
    return _because(
        chosen, f"{pool.key} is {soon.word}, {wanted.key} {own.word} and would take {own.in_s:.1f} s"
    )


def _rank(pool: Pool, offer: Decision, place: str | None, now_s: float) -> tuple[bool, Readiness]:
    """A place in a line is not given up for an estimate, only for an engine that is awake."""
    if isinstance(offer, Serve):
        return False, AWAKE
    return pool.key != place and place is not None, readiness(pool, now_s)


def _because(decision: Decision, *reasons: str) -> Decision:
    return replace(decision, reasons=(*decision.reasons, *reasons))


def _unavailable(pool: Pool, now_s: float, what: str, code: str = "no_endpoint") -> Refuse:
    message = f"The pool {pool.key} of the model {pool.model!r} {what}. Try again later."
    return Refuse(503, code, message, retry_after_s(pool, now_s), (what,), pool.key)
