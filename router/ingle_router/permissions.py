"""CEL rules as the callables that core asks."""

from __future__ import annotations

from collections.abc import Callable

from ingle_core.routing import Question
from ingle_kit import cel


def compile_rule(expression: str) -> Callable[[Question], object]:
    """Raises ValueError where the expression is broken. An evaluation error is no boolean, so core denies."""
    program = cel.compile(expression)

    def ask(question: Question) -> object:
        user = {"name": question.user.name, "groups": question.user.groups}
        return program.evaluate(user=user, request={"model": question.model, "path": question.path})

    return ask
