"""Sense, decide, act: the one thread that talks to the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ingle_agent.device import Device, GpuSample, GpuShape
from ingle_agent.enforce import Enforcer, InForce
from ingle_agent.ledger import Ledger
from ingle_agent.pods import PodFinder

ROUNDS_IN_A_ROW = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """One round's facts. `at_s` is monotonic. `ledger` is the one that `in_force` was judged by."""

    at_s: float
    shapes: tuple[GpuShape, ...]
    samples: tuple[GpuSample, ...]
    pods: dict[int, str]
    in_force: InForce
    ledger: Ledger | None
    errors: dict[str, int]
    limit_writes: int
    driver_version: str = ""


class Loop:
    """Runs in a thread of its own, because a driver call may hang; the rest of the agent only gets snapshots.

    `ledger` may be set from any thread; `wake` makes the next round start at once.
    """

    def __init__(
        self,
        device: Device,
        enforcer: Enforcer,
        pods: PodFinder,
        *,
        sample_s: float,
        silent: Callable[[], bool],
        publish: Callable[[Snapshot], None],
    ) -> None:
        self._device, self._enforcer, self._pods = device, enforcer, pods
        self._sample_s, self._silent, self._publish = sample_s, silent, publish
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)
        self.ledger: Ledger | None = None

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, within_s: float) -> None:
        """Limits stay as they are. A thread stuck in the driver is left behind; it ends with the process."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self.turn()
            except Exception:
                log.exception("a round failed; the next one starts in %.2f s", self._sample_s)
            self._wake.wait(self._sample_s)

    def turn(self) -> None:
        """Read; while limits are being written, read back and go on at once."""
        for _ in range(ROUNDS_IN_A_ROW):
            ledger = self.ledger
            self._enforcer.settle()
            samples, shapes = self._device.samples(), self._device.shapes()
            in_force = self._enforcer.round(shapes, samples, ledger, self._silent(), time.monotonic())
            pids = [process.pid for sample in samples for process in sample.processes or ()]
            self._publish(
                Snapshot(
                    at_s=time.monotonic(),
                    shapes=shapes,
                    samples=samples,
                    pods=self._pods.pods(pids),
                    in_force=in_force,
                    ledger=ledger,
                    errors=dict(self._device.errors),
                    limit_writes=self._enforcer.writes,
                    driver_version=self._device.driver_version,
                )
            )
            if not in_force.wrote:
                return
