"""What lies on the node's disk that makes a start shorter, by the names in a cache folder.

`weights/MODEL/` (the model's name, percent-encoded) and `compile/KEY/`. Whoever fills such a folder gives it that name
when it is whole: names that begin with a dot are under way and left out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from ingle_kit.objects import WarmItem
from ingle_kit.objects.gpunode import MAX_WARM, MAX_WARM_NAME

ENTRIES_MAX = 4096


def inventory(root: Path) -> list[WarmItem]:
    """Weights first, each sorted by name, at most `MAX_WARM` together. A folder that is missing or cannot be read is
    empty. Looks at names only."""
    weights = [WarmItem(kind="Weights", model=unquote(name)) for name in _names(root / "weights")]
    compiled = [WarmItem(kind="CompileCache", key=name) for name in _names(root / "compile")]
    return (weights + compiled)[:MAX_WARM]


def _names(folder: Path) -> list[str]:
    """Folders in `folder`; after `ENTRIES_MAX` entries the rest is not looked at."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= ENTRIES_MAX:
                    break
                if not entry.name.startswith(".") and _fits(entry.name) and entry.is_dir():
                    found.append(entry.name)
    except OSError:
        return []
    return sorted(found)


def _fits(name: str) -> bool:
    """Whether the API can hold it: text of a length, as one line."""
    return len(name) <= MAX_WARM_NAME and unquote(name).isprintable()


class WarmCheck:
    """Reads the inventory now and then, in a thread; `items` is the newest."""

    def __init__(self, root: Path, *, pause_s: float, on_change: Callable[[], None]) -> None:
        self._root, self._pause_s, self._on_change = root, pause_s, on_change
        self.items: list[WarmItem] = []

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
        """Reads the folder's names."""
        items = await asyncio.to_thread(inventory, self._root)
        if items != self.items:
            self.items = items
            self._on_change()
