"""CEL expressions: only a boolean is an answer, everything else is an error that cannot pass for true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_kit.cel import EvaluationError, ExpressionError, compile

USER = {"name": "alice", "groups": ["team-a", "staff"]}
REQUEST = {"model": "llama-8b", "path": "/v1/chat/completions"}


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("'team-a' in user.groups", True),
        ("'team-b' in user.groups", False),
        ("user.name == 'alice' && request.model.startsWith('llama')", True),
        ("user.groups.exists(g, g.matches('^team-'))", True),
        ("request.path != '/v1/chat/completions'", False),
        ("true", True),
    ],
)
def test_an_expression_answers_yes_or_no(expression: str, answer: bool) -> None:
    assert compile(expression).evaluate(user=USER, request=REQUEST) is answer


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "Syntax error"),
        ("user.name ==", "Syntax error"),
        ("user.nmae == 'x'", "undeclared reference to 'user.nmae'; variables are user.name, user.groups"),
        ("request.headers['x'] == 'y'", "undeclared reference"),
        ("user.groups == 'x'", "no matching overload"),
        ("user.name", "gives string, not true or false"),
        ("1 + 1", "gives int, not true or false"),
        ("dyn(true)", "gives dyn, not true or false"),
        ("(" * 200 + "true" + ")" * 200, "recursion limit"),
        ("true || " * 400 + "true", "longer than 2048 characters"),
    ],
)
def test_what_is_no_yes_or_no_does_not_compile_and_says_why(expression: str, says: str) -> None:
    with pytest.raises(ExpressionError) as problem:
        compile(expression)
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "expression",
    [
        "user.groups[5] == 'x'",
        "1 / 0 == 1",
        "{'a': true}[user.name]",
        "user.name.matches('(')",
        "timestamp(user.name) > timestamp('x')",
    ],
)
def test_a_failure_is_an_error_and_not_true(expression: str) -> None:
    outcome = compile(expression).evaluate(user=USER, request=REQUEST)
    assert isinstance(outcome, EvaluationError)
    with pytest.raises(TypeError):
        bool(outcome)


def test_a_missing_or_surplus_variable_is_an_error() -> None:
    program = compile("'team-a' in user.groups || true")
    assert isinstance(program.evaluate(user={"name": "a"}, request=REQUEST), EvaluationError)
    assert isinstance(program.evaluate(user=USER, request=REQUEST, extra="x"), EvaluationError)


def test_work_without_end_is_cut_off() -> None:
    expression = (
        "user.groups.all(a, user.groups.all(b, user.groups.all(c, a != 'x' || b != 'y' || c != 'z')))"
    )
    many = {"name": "a", "groups": [f"g{i}" for i in range(300)]}
    outcome = compile(expression).evaluate(user=many, request=REQUEST)
    assert isinstance(outcome, EvaluationError)
    assert "budget" in outcome.message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3)))
def test_values_of_any_kind_never_raise(value: Any) -> None:
    program = compile("user.name == 'a' || 'b' in user.groups")
    outcome = program.evaluate(user={"name": value, "groups": value}, request=REQUEST)
    assert isinstance(outcome, bool | EvaluationError)


def test_variables_may_be_others() -> None:
    program = compile("pool.name == 'a'", {"pool.name": "string"})
    assert program.evaluate(**{"pool.name": "a"}) is True
