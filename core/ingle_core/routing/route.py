"""The whole decision, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ingle_core.routing.decisions import Decision, Hold, Refuse, Serve
from ingle_core.routing.directory import Directory
from ingle_core.routing.facts import Caller, Load, Policy, Pool, Question, Request
from ingle_core.routing.permit import permit
from ingle_core.routing.pick import candidates, pick

RETRY_AFTER_S = 5


def route(
    request: Request, directory: Directory, loads: Mapping[str, Load], now_s: float, tie: float
) -> Decision:
    """Identify, permit, estimate, candidates, pick, hold; a fallback starts again at permit.

    `loads` by pool key; `now_s` on the clock of `request.wait` and `Endpoint.failing_until_s`; `tie` in [0, 1).
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
    if not isinstance(first, Refuse) and not pool.obstacle:
        return first
    if isinstance(first, Serve) or request.subset is not None:
        return first
    return _fall_back(request, directory, pool, first, loads, now_s, tie)


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
        return _unavailable(pool, "no_endpoint", "has no endpoint among those that the gateway allows")
    if pool.lasting:
        return _unavailable(pool, "pool_cannot_serve", f"cannot serve ({pool.obstacle})")
    limit_s = pool.hold_s if request.wait is None else request.wait.until_s - now_s
    if limit_s <= 0:
        because = f" ({pool.obstacle})" if pool.obstacle else ""
        return _unavailable(pool, "no_endpoint", f"has no awake engine and the time to wait is over{because}")
    if load.waiting >= pool.waiting_max and (request.wait is None or request.wait.pool != pool.key):
        message = f"{load.waiting} requests already wait for the model {pool.model!r}."
        return Refuse(429, "waiting_room_full", message, RETRY_AFTER_S, ("waiting room full",), pool.key)
    reasons = ("no awake engine", pool.obstacle) if pool.obstacle else ("no awake engine",)
    return Hold(pool.key, limit_s, reasons)


def _fall_back(
    request: Request,
    directory: Directory,
    wanted: Pool,
    first: Decision,
    loads: Mapping[str, Load],
    now_s: float,
    tie: float,
) -> Decision:
    """The policy's fallback where it may and can serve, else what the wanted pool said."""
    policy = next((p for p in directory.policies_of(wanted) if p.fallback), None)
    pool = _fallback_pool(directory, policy)
    if pool is None or request.caller is None:
        return first
    denied = _denied(request.caller, request, directory, pool)
    if denied is not None:
        return _because(first, f"fallback {pool.key}: {denied.reasons[0]}")
    second = _offer(request, pool, loads, now_s, tie)
    if isinstance(second, Refuse) or (isinstance(second, Hold) and pool.obstacle):
        return _because(first, f"fallback {pool.key} cannot serve either")
    return _because(second, f"{wanted.key} cannot serve: {', '.join(first.reasons)}")


def _fallback_pool(directory: Directory, policy: Policy | None) -> Pool | None:
    return None if policy is None else directory.pools.get(f"{policy.namespace}/{policy.fallback}")


def _because(decision: Decision, reason: str) -> Decision:
    return replace(decision, reasons=(*decision.reasons, reason))


def _unavailable(pool: Pool, code: str, what: str) -> Refuse:
    message = f"The pool {pool.key} of the model {pool.model!r} {what}. Try again later."
    return Refuse(503, code, message, RETRY_AFTER_S, (what,), pool.key)
