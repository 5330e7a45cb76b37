"""May this caller use this pool? Default deny where a policy names the model; deny wins; an error denies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ingle_core.routing.facts import Policy, Question, Rule


class Verdict(NamedTuple):
    """`reason` names the rule that decided, as `policy/rule`."""

    allowed: bool
    reason: str


def permit(policies: Iterable[Policy], question: Question) -> Verdict:
    """Asks every rule of every policy: a late deny must not hide behind an early allow."""
    allowed_by = ""
    asked: list[str] = []
    for policy in policies:
        asked.append(policy.key + (f" ({policy.refused})" if policy.refused else ""))
        for permission in policy.permissions:
            name = f"{permission.name!r} of policy {policy.key}"
            denies = _ask(permission.deny, question)
            allows = _ask(permission.allow, question)
            if denies is None or allows is None:
                return Verdict(False, f"rule {name} could not be evaluated, and an error denies")
            if denies:
                return Verdict(False, f"rule {name} denies it")
            if allows and not allowed_by and not policy.refused:
                allowed_by = f"rule {name} allows it"
    if not asked:
        return Verdict(True, "no policy names the model, any authenticated caller may use it")
    if not allowed_by:
        return Verdict(False, f"no rule of policy {' or '.join(asked)} allows it")
    return Verdict(True, allowed_by)


def _ask(rule: Rule | None, question: Question) -> bool | None:
    """None for an error: an exception, or an answer that is not a boolean."""
    if rule is None:
        return False
    try:
        answer = rule(question)
    except Exception:
        return None
    return answer if isinstance(answer, bool) else None
