"""What a watch knows of one pool: how it is, and the last things that happened. No I/O; the time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ingle_cli.explain.read import event_time
from ingle_cli.failures import EXIT_UNKNOWN, Failure, failure
from ingle_cli.objects import Object
from ingle_cli.watch.changes import changes, event_line
from ingle_kit.kube import KubeError
from ingle_kit.objects import timestamp

LINES_MAX: Final = 200
EVENTS_MAX: Final = 1000
EVENTS_FIRST: Final = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `at` RFC 3339. `alarm`: about the watch itself, or a warning."""

    at: str
    text: str
    alarm: bool = False


@dataclass
class Story:
    """`lost`: why the API server cannot be heard; empty while it can. `on_line` is called for each new line."""

    server: str
    now_s: Callable[[], float]
    on_line: Callable[[Line], None] = lambda line: None
    pool: Object | None = None
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES_MAX))
    lost: str = ""
    told: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))

    def add(self, text: str, at: str = "", *, alarm: bool = False) -> None:
        line = Line(at or timestamp(self.now_s()), text, alarm)
        self.lines.append(line)
        self.on_line(line)

    def lose(self, error: KubeError) -> None:
        """Told once, however often it is tried again."""
        if not self.lost:
            self.lost = failure([error], self.server).sentence
            self.add(f"the API server is lost, trying again: {self.lost}", alarm=True)

    def find(self) -> None:
        """It answered."""
        if self.lost:
            self.lost = ""
            self.add("the API server answers again", alarm=True)


@dataclass
class PoolListener:
    """Follows the pool itself. Raises Failure when it is gone."""

    story: Story

    def listed(self, items: list[Object]) -> None:
        self.story.find()
        if not items:
            self._gone()
        for obj in items:
            self.heard("ADDED", obj)

    def heard(self, what: str, obj: Object) -> None:
        if what == "DELETED":
            self._gone()
        old = self.story.pool
        anew = old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid")
        self.story.pool = obj
        for text in changes(None if anew else old, obj):
            self.story.add(text)

    def lost(self, error: KubeError) -> None:
        self.story.lose(error)

    def _gone(self) -> None:
        raise Failure("The pool was deleted.", EXIT_UNKNOWN)


@dataclass
class EventListener:
    """Follows the pool's events: what the operator decided, and why."""

    story: Story

    def listed(self, items: list[Object]) -> None:
        self.story.find()
        new = [event for event in sorted(items, key=event_time) if self._key(event) not in self.story.told]
        for event in items:
            self._note(event)
        for event in new[-EVENTS_FIRST:]:
            self._tell(event)

    def heard(self, what: str, obj: Object) -> None:
        if what != "DELETED" and self._key(obj) not in self.story.told:
            self._note(obj)
            self._tell(obj)

    def lost(self, error: KubeError) -> None:
        self.story.lose(error)

    def _tell(self, event: Object) -> None:
        self.story.add(event_line(event), event_time(event), alarm=event.get("type") == "Warning")

    def _note(self, event: Object) -> None:
        self.story.told.append(self._key(event))

    def _key(self, event: Object) -> tuple[str, str]:
        return event["metadata"].get("uid", event["metadata"]["name"]), event_time(event)
