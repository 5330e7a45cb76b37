"""What the engines themselves wrote about their wakes; an engine's log outlives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ingle_lab.demo.scene import NAMESPACE


@dataclass(frozen=True)
class Wakes:
    """Of all engines of a lab: wakes that were done, and wake calls that found the engine awake."""

    done: int = 0
    needless: int = 0

    def since(self, before: Wakes) -> Wakes:
        return Wakes(self.done - before.done, self.needless - before.needless)


def wakes_of(lab: Path) -> Wakes:
    """Reads the logs of the engines in a lab's folder."""
    done = needless = 0
    for path in (lab / "logs").glob(f"{NAMESPACE}_*_engine.log"):
        text = path.read_text(errors="replace")
        done += text.count(" awake after ")
        needless += text.count(" already awake: ")
    return Wakes(done, needless)
