"""How far a replay is, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


def progress_on(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def teller(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    """To be called with how much is done, and of how much."""
    return lambda done, total: progress.update(task, completed=done, total=total)
