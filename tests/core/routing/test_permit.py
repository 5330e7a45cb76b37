"""Permission: default deny where named, deny wins, an error denies."""

from __future__ import annotations

import pytest

from ingle_core.routing import Permission, Policy, Question, Verdict, permit
from ingle_core.routing.facts import Rule

from .conftest import ALICE

QUESTION = Question(ALICE, "org/llama", "/v1/completions")


def yes(_: Question) -> bool:
    return True


def no(_: Question) -> bool:
    return False


def fails(_: Question) -> bool:
    raise KeyError("group")


def ask(*rules: Permission, **more: str) -> Verdict:
    return permit([Policy("chat", "p", ("org/llama",), rules, **more)], QUESTION)


def test_a_model_that_no_policy_names_is_open_to_the_authenticated() -> None:
    assert permit([], QUESTION).allowed


def test_a_policy_without_rules_denies() -> None:
    assert ask() == Verdict(False, "no rule of policy chat/p allows it")


def test_the_rule_that_allows_is_named() -> None:
    assert ask(Permission("a", allow=no), Permission("b", allow=yes)) == Verdict(
        True, "rule 'b' of policy chat/p allows it"
    )


@pytest.mark.parametrize("first", [True, False])
def test_deny_wins_in_any_order(first: bool) -> None:
    rules = [Permission("a", allow=yes), Permission("b", deny=yes)]
    verdict = ask(*(rules if first else reversed(rules)))
    assert verdict == Verdict(False, "rule 'b' of policy chat/p denies it")


@pytest.mark.parametrize("answer", [fails, lambda q: "true", lambda q: None, lambda q: 1])
@pytest.mark.parametrize("side", ["allow", "deny"])
def test_an_error_denies_on_either_side_even_beside_a_rule_that_allows(answer: Rule, side: str) -> None:
    verdict = ask(Permission("a", allow=yes), Permission("broken", **{side: answer}))
    assert verdict == Verdict(
        False, "rule 'broken' of policy chat/p could not be evaluated, and an error denies"
    )


def test_a_policy_that_is_not_accepted_allows_nothing_and_still_denies() -> None:
    assert not ask(Permission("a", allow=yes), refused="not accepted: Conflicted").allowed
    other = Policy("chat", "q", ("org/llama",), (Permission("a", allow=yes),))
    broken = Policy("chat", "p", ("org/llama",), (Permission("d", deny=yes),), refused="not accepted")
    assert permit([other], QUESTION).allowed
    assert not permit([other, broken], QUESTION).allowed


def test_one_policy_that_denies_outweighs_another_that_allows() -> None:
    allows = Policy("chat", "a", ("org/llama",), (Permission("a", allow=yes),))
    denies = Policy("chat", "b", ("org/llama",), (Permission("d", deny=yes),))
    assert permit([allows, denies], QUESTION) == Verdict(False, "rule 'd' of policy chat/b denies it")
