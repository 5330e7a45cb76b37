"""`ingle watch POOL`: the tier of every engine, waiting requests, and what was decided and why, as it happens."""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live

from ingle_cli.access import CallersKube
from ingle_cli.explain.read import read_one
from ingle_cli.failures import failure
from ingle_cli.text import clean
from ingle_cli.watch.follow import follow
from ingle_cli.watch.screen import screen
from ingle_cli.watch.story import EventListener, Line, PoolListener, Story
from ingle_kit.kube import Forbidden, NotFound
from ingle_kit.names import EVENT, INFERENCE_POOL

__all__ = ["watch"]

REDRAW_S = 1.0


async def watch(kube: CallersKube, name: str, out: Console) -> NoReturn:
    """Runs until cancelled; raises Failure where the pool is not there or goes. On a pipe: one line a change."""
    await read_one(kube, INFERENCE_POOL, name, kube.namespace)
    changed = asyncio.Event()

    def on_line(line: Line) -> None:
        changed.set()
        if not out.is_terminal:
            out.file.write(f"{line.at}  {clean(line.text)}\n")  # rich would end us at a closed pipe
            out.file.flush()

    story = Story(kube.server, time.time, on_line)
    tasks = [
        asyncio.ensure_future(_pool(kube, name, story)),
        asyncio.ensure_future(_events(kube, name, story)),
    ]
    if out.is_terminal:
        tasks.append(asyncio.ensure_future(_draw(out, story, changed)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
        raise AssertionError("a watch ended without a reason")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pool(kube: CallersKube, name: str, story: Story) -> None:
    await follow(kube, INFERENCE_POOL, kube.namespace, f"metadata.name={name}", PoolListener(story))


async def _events(kube: CallersKube, name: str, story: Story) -> None:
    """Without the right to read events the rest is shown all the same."""
    selector = f"involvedObject.kind={INFERENCE_POOL.kind},involvedObject.name={name}"
    try:
        await follow(kube, EVENT, kube.namespace, selector, EventListener(story))
    except (Forbidden, NotFound) as error:
        story.add(f"decisions are not shown: {failure([error], kube.server).sentence}", alarm=True)
    await asyncio.Event().wait()


async def _draw(out: Console, story: Story, changed: asyncio.Event) -> None:
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            changed.clear()
            live.update(Group(*screen(story, time.time(), out.height - 1)), refresh=True)
            try:
                async with asyncio.timeout(REDRAW_S):
                    await changed.wait()
            except TimeoutError:
                continue
