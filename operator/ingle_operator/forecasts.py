"""Forecasts are made in a process of their own: the library takes 1.5 s to import, 200 MiB, and a second for a pool.

`python -m ingle_operator.forecasts` is that process: a JSON object of histories in, a line for each pool out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sys
from collections.abc import Mapping

import msgspec
import numpy as np

from ingle_core.scaling.forecast import Forecast, expected, floor
from ingle_core.scaling.history import STEP_S
from ingle_operator.demandhistory import Peaks

LIMIT_S = 60.0
NICENESS = 5
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Wire = dict[str, list[float | None]]

log = logging.getLogger(__name__)


class Made(msgspec.Struct, frozen=True):
    """One pool's forecast as the process writes it; `load` None: too little is known of it."""

    pool: str
    load: list[float] | None


async def forecasts_of(
    peaks: Mapping[str, Peaks], now_s: float, limit_s: float = LIMIT_S
) -> dict[str, Forecast | None]:
    """A forecast for each history; None where too little is known. What the process did not do in time has the floor."""
    first_s = now_s // STEP_S * STEP_S
    found: dict[str, Forecast | None] = {}
    floors = {pool: floor(history) for pool, history in peaks.items()}
    wanted = {pool: history for pool, history in peaks.items() if floors[pool] is not None}
    made = await _made(wanted, limit_s) if wanted else {}
    for pool, least in floors.items():
        if least is None:
            found[pool] = None
        elif pool in made:
            found[pool] = Forecast(first_s, tuple(made[pool]), "Seasonal")
        else:
            found[pool] = Forecast(first_s, tuple(float(x) for x in least), "SeasonalNaive")
    return found


async def _made(peaks: Mapping[str, Peaks], limit_s: float) -> dict[str, list[float]]:
    """What the process wrote until its end or its limit; it never outlives this call."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingle_operator.forecasts"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | _ONE_THREAD,
    )
    made: dict[str, list[float]] = {}
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(limit_s):
            with contextlib.suppress(ConnectionError):
                process.stdin.write(msgspec.json.encode(_wire(peaks)))
                await process.stdin.drain()
                process.stdin.close()
            async for line in process.stdout:
                one = msgspec.json.decode(line, type=Made)
                if one.load is not None:
                    made[one.pool] = one.load
            await process.wait()
    except TimeoutError:
        log.warning("forecasts: %d of %d made in %.0f s", len(made), len(peaks), limit_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return made


def _wire(peaks: Mapping[str, Peaks]) -> Wire:
    return {
        pool: [None if math.isnan(value) else float(value) for value in history]
        for pool, history in peaks.items()
    }


def main() -> None:
    """Reads histories, writes forecasts; a pool whose forecast fails has no line."""
    os.nice(NICENESS)
    histories = msgspec.json.decode(sys.stdin.buffer.read(), type=Wire)
    for pool, history in histories.items():
        peaks = np.array([np.nan if value is None else value for value in history], np.float64)
        try:
            load = expected(peaks)
        except Exception as error:  # one history that the library cannot fit must not cost the others theirs
            print(f"forecast of {pool}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        made = Made(pool, None if load is None else [float(value) for value in load])
        sys.stdout.buffer.write(msgspec.json.encode(made) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
