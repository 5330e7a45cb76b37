"""Result rows."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def at_most(name: str, value: float, unit: str, limit: float, **baseline: Any) -> Row:
    """A row whose value must not exceed `limit`; 0 reads as none at all."""
    return _row(name, value, unit, f"<= {limit:g}" if limit else "0", value <= limit, **baseline)


def at_least(name: str, value: float, unit: str, limit: float, **baseline: Any) -> Row:
    """A row whose value must reach `limit`."""
    return _row(name, value, unit, f">= {limit:g}", value >= limit, **baseline)


def told(name: str, value: float, unit: str, **baseline: Any) -> Row:
    """A row without a target."""
    return _row(name, value, unit, None, None, **baseline)


def _row(
    name: str,
    value: float,
    unit: str,
    target: str | None,
    met: bool | None,
    *,
    baseline: str | None = None,
    baseline_value: float | None = None,
) -> Row:
    fixed = {"name": name, "value": _short(value), "unit": unit, "target": target, "met": met}
    shown = None if baseline_value is None else _short(baseline_value)
    return {**fixed, "baseline": baseline, "baseline_value": shown}


def _short(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value
