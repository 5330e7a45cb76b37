"""The text of /metrics, with vLLM's names."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
Sample = tuple[str, Mapping[str, str], float]


@dataclass(slots=True)
class Histogram:
    """Observed seconds by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def samples(self, name: str) -> Iterable[Sample]:
        total = 0
        for bound, number in zip((*map(str, _BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += number
            yield f"{name}_bucket", {"le": bound}, total
        yield f"{name}_sum", {}, self.sum_s
        yield f"{name}_count", {}, total


@dataclass(slots=True)
class Counters:
    """What an engine counts from its start on. Seconds are real ones, as a client sees them."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    first_token: Histogram = field(default_factory=Histogram)
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    refused_while_asleep: int = 0
    without_weights: int = 0
    wake_calls: int = 0
    wake_call_at_s: float = 0.0


class Page:
    """Collects metrics into Prometheus' text format; every sample gets the common labels."""

    def __init__(self, common: Mapping[str, str]) -> None:
        self._common = common
        self._lines: list[str] = []

    def one(self, name: str, kind: str, value: float, **labels: str) -> None:
        self.many(name, kind, [(name, labels, value)])

    def many(self, name: str, kind: str, samples: Iterable[Sample]) -> None:
        self._lines.append(f"# TYPE {name} {kind}")
        for sample, labels, value in samples:
            every = ",".join(f'{key}="{_escaped(text)}"' for key, text in {**self._common, **labels}.items())
            self._lines.append(f"{sample}{{{every}}} {float(value)!r}")

    def text(self) -> bytes:
        return "\n".join([*self._lines, ""]).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
