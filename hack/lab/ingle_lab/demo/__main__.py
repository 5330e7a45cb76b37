"""`python -m ingle_lab.demo`: starts the lab, shows every line, then stays until Ctrl-C (or ends, with --once)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import signal
import sys
import time
from pathlib import Path

import aiohttp
from rich.console import Console

from ingle_kit.kube import KubeError
from ingle_lab.controlplane import ControlPlaneError, lab_dir
from ingle_lab.demo import picker, replay, steps, wakes
from ingle_lab.demo.scene import Scene, StepFailed, write_figures
from ingle_lab.demo.table import show_table
from ingle_lab.stack import Stack, StackError

LINES = (
    steps.nodes_register,
    steps.pools_become_ready,
    steps.first_tokens,
    steps.permissions,
    steps.power_cut,
    steps.operator_killed,
)
MEASURES = (picker.picker_cost, wakes.many_wakes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ingle_lab.demo", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end after the last line, with figures in .lab/demo.json"
    )
    parser.add_argument("--trace", type=Path, default=None, help="replay this Azure LLM trace after line 6")
    parser.add_argument(
        "--trace-seconds", type=float, default=300.0, help="length of the stretch that is replayed"
    )
    parser.add_argument("--time-scale", type=float, default=0.1, help="lab seconds per second of a profile")
    parser.add_argument("--short", action="store_true", help="leave out the measurements of latency")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else 140, soft_wrap=True)
    started_at_s = float(os.environ.get("INGLE_DEMO_STARTED_AT") or time.time())
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    connector = aiohttp.TCPConnector(limit=0)

    def say(text: str) -> None:
        console.print(f"[dim]{time.time() - started_at_s:6.1f} s[/dim]  {text}", highlight=False)

    stack = Stack(lab_dir(), time_scale=options.time_scale, say=say)
    async with contextlib.AsyncExitStack() as exits:
        session = await exits.enter_async_context(aiohttp.ClientSession(connector=connector))
        show = asyncio.create_task(_show(exits, stack, session, console, started_at_s, options))
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait({show, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not show.done():
            show.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await show
            console.print("stopping every process")
            return 130
        ended.cancel()
        return show.result()


async def _show(
    exits: contextlib.AsyncExitStack,
    stack: Stack,
    session: aiohttp.ClientSession,
    console: Console,
    started_at_s: float,
    options: argparse.Namespace,
) -> int:
    await exits.enter_async_context(stack)
    scene = Scene(stack, session, console, started_at_s)
    exits.push_async_callback(scene.close)
    await scene.watch()
    _name_figures(scene, options)
    for line in (*LINES, *(() if options.short else MEASURES)):
        await line(scene)
    if options.trace is not None:
        await replay.replay(scene, options.trace, options.trace_seconds)
    await _finish(scene)
    if options.once:
        return 0 if _clean(scene) else 1
    await show_table(scene)
    return 0


def _name_figures(scene: Scene, options: argparse.Namespace) -> None:
    scene.figures |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "time_scale": options.time_scale,
        "simulated": "GPUs, nodes and engines; the control plane, Envoy and everything of Ingle are real",
    }


async def _finish(scene: Scene) -> None:
    assert scene.witness is not None
    await asyncio.sleep(1.5)
    counts = scene.witness.counts
    scene.figures |= {
        "budget_samples": counts.budget_samples,
        "budget_violations": counts.budget_violations,
        "memory_samples": counts.memory_samples,
        "oversold_samples": counts.oversold_samples,
    }
    scene.head("All the while")
    scene.say(
        f"limits and hosts against capWatts: {counts.budget_violations} of {counts.budget_samples} readings above"
    )
    scene.say(
        f"GPU memory against the ledger: {counts.oversold_samples} of {counts.memory_samples} readings above"
    )
    for text in counts.worst[:5]:
        scene.say(f"  {text}")
    scene.say(f"figures: {write_figures(scene)}")


def _clean(scene: Scene) -> bool:
    figures = scene.figures
    return (
        not figures["budget_violations"]
        and not figures["oversold_samples"]
        and not figures.get("requests_failed")
    )


def main() -> None:
    try:
        sys.exit(asyncio.run(run(arguments())))
    except (StepFailed, StackError, ControlPlaneError, KubeError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
