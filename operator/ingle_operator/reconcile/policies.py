"""A RoutingPolicy: whether it can be in force. Routers decide by the same rules; this only tells the owner."""

from __future__ import annotations

import time

from ingle_kit.cel import POLICY_VARIABLES, ExpressionError, compile
from ingle_kit.names import ROUTING_POLICY
from ingle_kit.objects import RoutingPolicySpec
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import Policy
from ingle_operator.status import conditions_of, current, write_status
from ingle_operator.world import World


async def reconcile_policy(world: World, name: str) -> float | None:
    namespace, _, short = name.partition("/")
    policy = world.policies.store.get((namespace, short))
    if policy is None:
        return None
    reason, message = judge(world, policy)
    good = reason is Reason.ACCEPTED
    conditions = conditions_of(
        current(world, policy),
        time.time(),
        accepted=(good, reason, message),
        ready=(good, reason, message),
        reconciling=(False, Reason.RECONCILED, ""),
        stalled=(not good, reason if not good else Reason.RECONCILED, message),
    )
    status = {"observedGeneration": policy.generation, "conditions": conditions}
    await write_status(world, ROUTING_POLICY, policy, status)
    return world.settings.resync_s


def judge(world: World, policy: Policy) -> tuple[Reason, str]:
    """The verdict on one policy; `Accepted` or the first thing that is wrong, with what to change."""
    if policy.spec is None:
        return Reason.INVALID_SPEC, policy.error
    wrong = _wrong_expression(policy.spec)
    if wrong:
        return Reason.INVALID_EXPRESSION, wrong
    missing = _missing_pool(world, policy, policy.spec)
    if missing:
        return Reason.POOL_NOT_FOUND, missing
    older = _older_rival(world, policy, policy.spec)
    if older is not None:
        return (
            Reason.CONFLICTED,
            f"policy {older.name} is older and decides about the same models: merge the two",
        )
    return Reason.ACCEPTED, ""


def _wrong_expression(spec: RoutingPolicySpec) -> str:
    for index, rule in enumerate(spec.permissions):
        field = "allow" if rule.allow is not None else "deny"
        try:
            compile(rule.allow or rule.deny or "", POLICY_VARIABLES)
        except ExpressionError as error:
            return f"spec.permissions[{index}].{field} of rule {rule.name}: {error}"
    return ""


def _missing_pool(world: World, policy: Policy, spec: RoutingPolicySpec) -> str:
    namespace = policy.key[0]
    fallbacks = (
        (("pool", spec.fallback.pool), *(("others", n) for n in spec.fallback.others))
        if spec.fallback
        else ()
    )
    for field, name in fallbacks:
        if (namespace, name) not in world.pools.store:
            return f"spec.fallback.{field}: there is no InferencePool {name} in namespace {namespace}"
    here = [p for p in world.pools.store.values() if p.key[0] == namespace and p.spec]
    for model in spec.models:
        if not any(model in (p.spec.model, *p.spec.aliases, f"{namespace}/{p.spec.model}") for p in here):
            return f"spec.models: no InferencePool in namespace {namespace} serves {model}"
    return ""


def _older_rival(world: World, policy: Policy, spec: RoutingPolicySpec) -> Policy | None:
    for other in world.policies.store.values():
        if other.uid == policy.uid or other.key[0] != policy.key[0] or other.spec is None:
            continue
        shared = set(other.spec.models) & set(spec.models)
        if shared and _age(other.raw) < _age(policy.raw):
            found: Policy = other
            return found
    return None


def _age(raw: dict[str, dict[str, str]]) -> tuple[str, str]:
    return raw["metadata"]["creationTimestamp"], raw["metadata"]["name"]
