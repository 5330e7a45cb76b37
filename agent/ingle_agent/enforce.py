"""One round of enforcement: readings and the ledger in, limits written, what is in force out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingle_agent.device import DeviceError, GpuSample, GpuShape, NotPermitted
from ingle_agent.ledger import Ledger, effective_w
from ingle_agent.setters import Limits, Setter
from ingle_core.power import CapState, CapWrite, GpuPower, Step, step
from ingle_core.power.reasons import NOT_ENFORCED

# A right that is missing is seldom given while we run: asked again, but rarely.
NOT_PERMITTED_PAUSES = 15

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InForce:
    """`revision`: newest ledger revision whose caps were read back. `now`: the newest ledger's caps are in force.

    `fault`: why limits cannot be set, empty if they can. `safe`: capped to wattsSafe because nobody listens.
    """

    revision: int = 0
    now: bool = True
    fault: str = ""
    safe: bool = False
    limits_w: tuple[tuple[str, int], ...] = ()
    wrote: bool = False


class Enforcer:
    """Keeps what spans rounds: the step's state, the journal, and writes that had no effect yet."""

    def __init__(self, setter: Setter, journal: Limits, retry_s: float) -> None:
        self._setter, self._journal, self._retry_s = setter, journal, retry_s
        self._state = CapState()
        self._tried: dict[str, tuple[int, float]] = {}
        self._faults: dict[str, str] = {}
        self._ledger_uid = ""
        self._revision = 0
        self.writes = 0

    def settle(self) -> None:
        """Before the readings of a round."""
        self._setter.settle()

    def round(
        self,
        shapes: Sequence[GpuShape],
        samples: Sequence[GpuSample],
        ledger: Ledger | None,
        silent: bool,
        now_s: float,
    ) -> InForce:
        """Without a ledger nothing is changed: the limits stay as they are. Call again soon where `wrote`."""
        if ledger is None:
            return InForce(revision=self._revision, now=False)
        if ledger.uid != self._ledger_uid:
            self._ledger_uid, self._revision = ledger.uid, 0
        allotted_w = effective_w(ledger, silent)
        pairs = zip(shapes, samples, strict=True)
        own_w = self._journal.previous
        gpus = [_power(shape, sample, ledger, own_w) for shape, sample in pairs if not shape.parent]
        result = step(self._state, gpus, allotted_w)
        self._state = result.state
        self._settle(gpus, result, free=allotted_w is None)
        wrote = self._write(gpus, result.writes, now_s)
        unheeded = {f"{r.subject}: {r.message}" for r in result.reasons if r.code == NOT_ENFORCED}
        fault = "; ".join(sorted(set(self._faults.values()) | unheeded))
        in_force = result.in_force or (bool(self._faults) and result.within)
        if in_force:
            self._revision = max(self._revision, ledger.revision)
        safe = silent and allotted_w != ledger.allotted_w
        limits = tuple(sorted(result.caps.limits_w.items()))
        return InForce(self._revision, in_force and not safe, fault, safe, limits, wrote)

    def _settle(self, gpus: Sequence[GpuPower], result: Step, free: bool) -> None:
        """Forgets tries that took effect, and journal entries of GPUs that have their own limit again."""
        caps = result.caps.limits_w
        at_cap = {gpu.uuid for gpu in gpus if not gpu.lost and gpu.limit_w == caps[gpu.uuid]}
        for uuid in at_cap | {uuid for uuid, (watts, _) in self._tried.items() if caps.get(uuid) != watts}:
            self._tried.pop(uuid, None)
        for uuid in at_cap | (self._faults.keys() - caps.keys()):
            self._faults.pop(uuid, None)
        if free:
            self._note(lambda: self._journal.forget(at_cap))

    def _write(self, gpus: Sequence[GpuPower], writes: Sequence[CapWrite], now_s: float) -> bool:
        """Intent first. A write that had no effect is repeated only after a pause."""
        limits = {gpu.uuid: gpu.limit_w for gpu in gpus}
        due = [w for w in writes if now_s >= self._tried.get(w.uuid, (0, -math.inf))[1]]
        if not due:
            return False
        self._note(lambda: self._journal.intend({write.uuid: limits[write.uuid] for write in due}))
        for write in due:
            self._tried[write.uuid] = (write.limit_w, now_s + self._retry_s)
            try:
                self._setter.set_limit(write.uuid, write.limit_w)
            except NotPermitted as error:
                self._faults[write.uuid] = str(error)
                self._tried[write.uuid] = (write.limit_w, now_s + self._retry_s * NOT_PERMITTED_PAUSES)
            except DeviceError as error:
                log.warning("%s", error)
                self._faults[write.uuid] = str(error)
            else:
                self.writes += 1
                self._faults.pop(write.uuid, None)
        return True

    def _note(self, act: Callable[[], None]) -> None:
        """A journal that cannot be written must not keep a cap from being set; it costs only the way back."""
        try:
            act()
        except OSError as error:
            log.warning("journal of limits cannot be written: %s", error)


def _power(shape: GpuShape, sample: GpuSample, ledger: Ledger, own_w: Mapping[str, int | None]) -> GpuPower:
    limit_w = math.ceil(sample.limit_w)
    return GpuPower(
        uuid=shape.uuid,
        min_w=shape.min_w,
        max_w=shape.max_w,
        limit_w=limit_w,
        enforced_w=math.ceil(sample.enforced_w),
        claimed_w=ledger.claimed_w.get(shape.uuid, 0),
        own_w=own_w.get(shape.uuid, limit_w),
        lost=sample.health != "Healthy",
    )
