"""What lies on the node's disk that makes a start shorter, by a bounded look into a cache folder.

`weights/NAME/` (percent-encoded) and `compile/KEY/`. A copy of weights has its name once it is whole; while it is made it
is `weights/.NAME.part/`. An empty folder is nothing: the kubelet makes one for a container that mounts it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ingle_kit.fetch import PART_SUFFIX
from ingle_kit.objects import Disk, WarmItem
from ingle_kit.objects.gpunode import MAX_WARM, MAX_WARM_NAME

ENTRIES_MAX = 4096
FILES_MAX = 50_000
LOOK_MAX_S = 2.0
MIB = 1024 * 1024


@dataclass
class Budget:
    """What one look may still cost: files, and time by a monotonic clock."""

    ends_at_s: float
    files: int = FILES_MAX
    clock: Callable[[], float] = field(default=time.monotonic)

    def spend(self) -> bool:
        """Whether one more file may be looked at."""
        self.files -= 1
        return self.files >= 0 and self.clock() < self.ends_at_s

    @property
    def spent(self) -> bool:
        return self.files <= 0 or self.clock() >= self.ends_at_s


@dataclass
class Content:
    """Regular files below a folder: how many, their bytes, and when one of them last changed (Unix seconds)."""

    files: int = 0
    size_bytes: int = 0
    changed_at_s: float = 0.0
    whole: bool = True  # False: not all was looked at


def inventory(root: Path, budget: Budget, quiet_before_s: float) -> list[WarmItem]:
    """Weights first, each sorted by name, at most `MAX_WARM` together. A folder that is missing or cannot be read is
    empty. Links are not followed.

    A compile cache counts once nothing in it has changed since `quiet_before_s` (Unix seconds): until then an engine
    fills it. Sizes of what the budget did not reach are left out.
    """
    weights, partial = list(_weights(root / "weights", budget)), _under_way(root / "weights")
    whole = {item.model for item in weights}
    weights += [WarmItem(kind="Weights", model=name, partial=True) for name in partial if name not in whole]
    compiled = list(_compiled(root / "compile", budget, quiet_before_s))
    return (sorted(weights, key=lambda item: item.model or "") + compiled)[:MAX_WARM]


def _weights(folder: Path, budget: Budget) -> Iterator[WarmItem]:
    for name in _names(folder):
        if name.startswith("."):
            continue
        content = content_of(folder / name, budget)
        if content.files:
            yield WarmItem(kind="Weights", model=unquote(name), mib=_mib(content))


def _under_way(folder: Path) -> list[str]:
    names = [name[1:].removesuffix(PART_SUFFIX) for name in _names(folder) if _is_part(name)]
    return [unquote(name) for name in names]


def _is_part(name: str) -> bool:
    return name.startswith(".") and name.endswith(PART_SUFFIX)


def _compiled(folder: Path, budget: Budget, quiet_before_s: float) -> Iterator[WarmItem]:
    for name in _names(folder):
        if name.startswith("."):
            continue
        content = content_of(folder / name, budget)
        if content.files and content.changed_at_s <= quiet_before_s:
            yield WarmItem(kind="CompileCache", key=unquote(name), mib=_mib(content))


def _mib(content: Content) -> int | None:
    return -(-content.size_bytes // MIB) if content.whole else None


def content_of(folder: Path, budget: Budget) -> Content:
    """What is below the folder. Where the budget ends before the first file, one is taken to be there."""
    found = Content(whole=not budget.spent)
    if budget.spent:
        found.files = 1
        return found
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not budget.spend():
                    found.whole = False
                    return found
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    found.files += 1
                    found.size_bytes += stat.st_size
                    found.changed_at_s = max(found.changed_at_s, stat.st_mtime)
    return found


def _names(folder: Path) -> list[str]:
    """Folders in `folder`; after `ENTRIES_MAX` entries the rest is not looked at."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= ENTRIES_MAX:
                    break
                if _fits(entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
    except OSError:
        return []
    return sorted(found)


def _fits(name: str) -> bool:
    """Whether the API can hold it: text of a length, as one line."""
    return len(name) <= MAX_WARM_NAME and unquote(name).isprintable()


def disk_of(root: Path) -> Disk | None:
    """Size and free room of the file system, by the folder or the one it will be made in; None without both."""
    try:
        stat = os.statvfs(root if root.exists() else root.parent)
    except OSError:
        return None
    return Disk(total=stat.f_blocks * stat.f_frsize // MIB, free=stat.f_bavail * stat.f_frsize // MIB)


class WarmCheck:
    """Reads the inventory now and then, in a thread; `items` and `disk` are the newest."""

    def __init__(self, root: Path, *, pause_s: float, quiet_s: float, on_change: Callable[[], None]) -> None:
        self._root, self._pause_s, self._quiet_s, self._on_change = root, pause_s, quiet_s, on_change
        self.items: list[WarmItem] = []
        self.disk: Disk | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s)
            await self.look()

    async def look_once(self, limit_s: float) -> None:
        """A look that is given up after `limit_s`: a disk that hangs must not hold up the agent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.look()

    async def look(self) -> None:
        """Reads the folder. Only what is there is worth telling at once; free room goes with the next status."""
        budget = Budget(time.monotonic() + LOOK_MAX_S)
        items = await asyncio.to_thread(inventory, self._root, budget, time.time() - self._quiet_s)
        self.disk = await asyncio.to_thread(disk_of, self._root)
        if items != self.items:
            self.items = items
            self._on_change()
