"""One engine of a pool's status as a row of a table, the same wherever engines are listed."""

from __future__ import annotations

from ingle_cli.objects import Object, seconds_since
from ingle_cli.text import age, short_gpu

Row = tuple[str | None, ...]


def engine_row(engine: Object, now_s: float) -> Row:
    """Pod, state, since when, node, GPUs, reason."""
    return (
        engine["pod"],
        engine["state"],
        age(seconds_since(engine.get("since"), now_s)),
        engine.get("node"),
        ", ".join(short_gpu(gpu) for gpu in engine.get("gpus") or ()),
        engine.get("reason"),
    )
