"""What is typically asked for: classes of asks and their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

POPULAR: Final = 0.95
CLASSES_MOST: Final = 128


@dataclass(frozen=True, slots=True)
class AskClass:
    """Asks of one shape. `memory_mib` per GPU; `gpus` 0: asks CPU only; no products: any; CPU in thousandths."""

    memory_mib: int
    gpus: int = 1
    products: tuple[str, ...] = ()
    cpu_milli: int = 0


@dataclass(frozen=True, slots=True)
class Mix:
    """Classes of asks and the share of each, in [0, 1]. Shares that sum to less than 1 are fine."""

    classes: tuple[AskClass, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.shares) or not self.classes:
            raise ValueError(
                f"mix: {len(self.classes)} classes, {len(self.shares)} shares; want one share a class"
            )
        if len(self.classes) > CLASSES_MOST:
            raise ValueError(f"mix.classes: {len(self.classes)}, at most {CLASSES_MOST}")
        for i, share in enumerate(self.shares):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"mix.shares[{i}] must be in [0, 1], not {share}")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU in thousandths: what the pod asks, and what is left on each row of the columns."""

    asked_milli: int
    left_milli: NDArray[Any]


def mix_of(asks: Iterable[AskClass], popular: float = POPULAR) -> Mix | None:
    """The most frequent classes that together are at least `popular` of all asks; their shares sum to 1.

    Equally frequent ones: the one seen first goes first. At most `CLASSES_MOST`. No asks: None.
    """
    return mix_of_weights(Counter(asks), popular)


def mix_of_weights(weights: Mapping[AskClass, int], popular: float = POPULAR) -> Mix | None:
    """The same for classes with the weight of each, which is positive."""
    wanted, had = popular * sum(weights.values()), 0
    taken: list[tuple[AskClass, int]] = []
    for one, weight in sorted(weights.items(), key=lambda item: -item[1])[:CLASSES_MOST]:
        if had >= wanted:
            break
        taken.append((one, weight))
        had += weight
    if not taken:
        return None
    return Mix(tuple(one for one, _ in taken), tuple(weight / had for _, weight in taken))
