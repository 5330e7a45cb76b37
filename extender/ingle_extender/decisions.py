"""What was decided last for each pod, for people who ask why."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ingle_core.placement import NAMES, TEXTS, Reason

KEPT_MAX = 5000


@dataclass(frozen=True, slots=True)
class Decision:
    """`text` is what kube-scheduler was told; `counts` says how many nodes had which reason."""

    at: str
    step: str  # filter | bind
    uid: str
    node: str | None
    gpus: tuple[str, ...] = ()
    text: str = ""
    counts: dict[Reason, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        fields: dict[str, object] = {"at": self.at, "step": self.step, "uid": self.uid, "node": self.node}
        return fields | {"gpus": list(self.gpus), "text": self.text, "reasons": counted(self.counts)}


class Decisions:
    """The last decision of each step for the latest pods, at most `KEPT_MAX`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], dict[str, Decision]] = OrderedDict()

    def put(self, key: tuple[str, str], decision: Decision) -> None:
        steps = self._kept.pop(key, {})
        self._kept[key] = steps | {decision.step: decision}
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def get(self, key: tuple[str, str]) -> dict[str, Decision]:
        """By step; empty when nothing is known."""
        return self._kept.get(key, {})


def counted(counts: dict[Reason, int]) -> list[dict[str, object]]:
    """Reasons with how many nodes had them, the commonest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"reason": NAMES[r], "text": TEXTS[r], "nodes": n} for r, n in ordered]
