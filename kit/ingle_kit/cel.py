"""CEL expressions that answer yes or no, type-checked when compiled and never true by mistake.

The library *returns* a failed evaluation as a value of type ERROR, which is true in Python; here only a boolean of
CEL is an answer and everything else is an `EvaluationError` that the caller has to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cel_expr_python import cel

VariableType = Literal["string", "list(string)"]
Value = str | Sequence[str] | Mapping[str, "str | Sequence[str]"]

POLICY_VARIABLES: Final[Mapping[str, VariableType]] = {
    "user.name": "string",
    "user.groups": "list(string)",
    "request.model": "string",
    "request.path": "string",
}
"""What expressions of a RoutingPolicy may read."""

EXPRESSION_CHARACTERS_MAX: Final = 2048

_TYPES: Final[Mapping[str, Any]] = {"string": cel.Type.STRING, "list(string)": cel.Type.List(cel.Type.STRING)}


class ExpressionError(ValueError):
    """The expression does not compile, or its value is not a boolean. The text says where and what to change."""


@dataclass(frozen=True)
class EvaluationError:
    """The expression compiled, but has no answer for these values."""

    message: str

    def __bool__(self) -> bool:
        raise TypeError("an evaluation error is neither true nor false: compare with `is True`")


class Program:
    """A compiled expression. Safe to keep and to evaluate any number of times."""

    def __init__(self, expression: str, compiled: Any, variables: Mapping[str, VariableType]) -> None:
        self.expression = expression
        self._compiled = compiled
        self._variables = variables

    def evaluate(self, **values: Value) -> bool | EvaluationError:
        """The answer for these values, given nested (`user={"name": ..., "groups": [...]}`) or by dotted name.

        Never raises for what the values hold. A variable that is missing, one too many, or any failure inside CEL
        is an EvaluationError.
        """
        data = _flat(values)
        if data.keys() != self._variables.keys():
            odd = ", ".join(sorted(data.keys() ^ self._variables.keys()))
            return EvaluationError(f"variables missing or unknown: {odd}")
        for name, type_ in self._variables.items():
            if not _is(type_, data[name]):
                return EvaluationError(f"{name} is no {type_}")
        try:
            value = self._compiled.eval(data=data)
        except (RuntimeError, TypeError, ValueError) as error:
            return EvaluationError(str(error))
        answer = value.value()
        if value.type() == cel.Type.BOOL and isinstance(answer, bool):
            return answer
        return EvaluationError(f"no boolean but {value.type().name()}: {answer}"[:1024])


def compile(expression: str, variables: Mapping[str, VariableType] = POLICY_VARIABLES) -> Program:
    """Compile and type-check an expression over dotted variables. Raises ExpressionError."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise ExpressionError(f"longer than {EXPRESSION_CHARACTERS_MAX} characters: shorten or split it")
    try:
        compiled = _environment(variables).compile(expression)
    except RuntimeError as error:
        raise ExpressionError(_readable(str(error), variables)) from None
    found = compiled.return_type().name()
    if found != "BOOL":
        raise ExpressionError(f"gives {found.lower()}, not true or false: compare it with something")
    return Program(expression, compiled, dict(variables))


def _environment(variables: Mapping[str, VariableType]) -> Any:
    return cel.NewEnv(variables={name: _TYPES[type_] for name, type_ in variables.items()})


def _readable(text: str, variables: Mapping[str, VariableType]) -> str:
    """The library's first error without its codes and drawing, with the variables there are."""
    line = (
        text.split("\n", 1)[0]
        .removeprefix("INVALID_ARGUMENT: ")
        .removeprefix("CANCELLED: ")
        .removeprefix("ERROR: ")
        .split(" [", 1)[0]
    )
    line = line.replace("<input>:", "at ").replace(" (in container '')", "").split(" expecting {", 1)[0]
    hint = f"; variables are {', '.join(variables)}" if "undeclared reference" in line else ""
    return line + hint


def _flat(values: Mapping[str, Value]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": _plain(item) for inner, item in value.items()})
        else:
            flat[name] = _plain(value)
    return flat


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is(type_: VariableType, value: object) -> bool:
    if type_ == "string":
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
