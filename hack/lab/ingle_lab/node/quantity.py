"""Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_FACTORS = {suffix: Decimal(10) ** power for suffix, power in zip("num", (-9, -6, -3), strict=True)}
_FACTORS |= {suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}


def parse_quantity(text: str) -> Decimal:
    """`500m`, `2`, `1.5Gi`, `3e3` as a number. Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 64Gi")
    number, suffix = found.groups()
    if suffix is None:
        return Decimal(number)
    return Decimal(number) * (_FACTORS[suffix] if suffix in _FACTORS else Decimal("1" + suffix))
