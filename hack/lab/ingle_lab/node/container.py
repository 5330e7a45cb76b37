"""The life of one container: start, probe, restart, stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingle_kit.kube import Object
from ingle_lab.node import probe
from ingle_lab.node.clock import now_text
from ingle_lab.node.process import Process
from ingle_lab.node.status import ContainerFacts, restarts_after

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
STABLE_AFTER_S = 30.0
EXIT_LOST = 137
EXIT_START = 128

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a container needs from its pod. `label` names it in our log: namespace/pod/container."""

    launch: Callable[[Sequence[str] | None], Process]  # None: the container's own command
    address: str
    policy: str
    grace_s: float
    power: asyncio.Event
    changed: Callable[[], None]
    label: str


class Container:
    """One container of a running pod. `run()` returns once it is over for good."""

    def __init__(self, spec: Object, around: Surroundings, before: Object | None) -> None:
        self._spec, self._around = spec, around
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._process: Process | None = None
        self._probes: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._backoff_s = BACKOFF_MIN_S
        self._killed_because = ""
        self._started_at = ""
        self._started = self._ready = False
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Object = {}
        self._restarts = 0
        self._adopt(before or {})

    def facts(self) -> ContainerFacts:
        return ContainerFacts(
            name=self._spec["name"],
            image=self._spec["image"],
            state=self._state,
            last_state=self._last_state,
            restarts=self._restarts,
            started=self._started,
            ready=self._ready,
            container_id=f"lab://{self._process.pid}" if self._process else "",
        )

    def wait_for(self, reason: str, message: str) -> None:
        """Shows why it cannot start yet."""
        if "waiting" in self._state:
            self._state = {"waiting": {"reason": reason, "message": message}}

    async def run(self) -> None:
        """Starts it, and again as the pod's restartPolicy says; returns when it is over or was told to stop."""
        while not self._stopping.is_set() and not self._over():
            await self._around.power.wait()
            if "terminated" in self._last_state or "terminated" in self._state:
                self._restarts += 1
            begun_s = time.monotonic()
            await self._live_once()
            if self._stopping.is_set() or self._over():
                break
            if time.monotonic() - begun_s > STABLE_AFTER_S:
                self._backoff_s = BACKOFF_MIN_S
            await self._back_off()

    async def stop(self, grace_s: float) -> None:
        """preStop, SIGTERM, SIGKILL after `grace_s` in all. Safe before it runs and after it ended."""
        self._stopping.set()
        if self._process is None or not self._process.alive:
            return
        deadline_s = time.monotonic() + grace_s
        pre_stop = (self._spec.get("lifecycle") or {}).get("preStop")
        if pre_stop and not self._hurry.is_set():
            outcome = await probe.attempt(pre_stop, self._target(), max(0.1, grace_s))
            if not outcome.ok:
                log.warning("preStop of container %s: %s", self._around.label, outcome.why)
        await self._process.end(max(0.0, deadline_s - time.monotonic()), self._hurry)

    def kill(self) -> None:
        """At once, and no more."""
        self._stopping.set()
        self._hurry.set()
        if self._process is not None:
            self._process.kill()

    def _adopt(self, before: Object) -> None:
        """Takes over from the status that an earlier life of this program wrote: what ran is lost."""
        self._restarts = int(before.get("restartCount") or 0)
        self._last_state = before.get("lastState") or {}
        state = before.get("state") or {}
        if "terminated" in state:
            self._state = state
        elif "running" in state:
            lost = {"reason": "ContainerLost", "message": "the node stand-in ended", "exitCode": EXIT_LOST}
            times = {"startedAt": state["running"].get("startedAt"), "finishedAt": now_text()}
            self._state = {"terminated": lost | times}

    def _over(self) -> bool:
        ended = self._state.get("terminated")
        return ended is not None and not restarts_after(self._around.policy, int(ended["exitCode"]))

    async def _live_once(self) -> None:
        if "terminated" in self._state:
            self._last_state = self._state
        self._started_at, self._killed_because = now_text(), ""
        try:
            self._process = self._around.launch(None)
        except OSError as error:
            self._end_as("StartError", EXIT_START, str(error))
            return
        self._state = {"running": {"startedAt": self._started_at}}
        self._start_probes()
        self._around.changed()
        try:
            code = await self._process.wait()
        finally:
            self._cancel_probes()
        self._end_as("Completed" if code == 0 else "Error", code, self._killed_because)

    def _end_as(self, reason: str, code: int, message: str) -> None:
        self._started = self._ready = False
        ended: Object = {"reason": reason, "exitCode": code}
        ended |= {"startedAt": self._started_at, "finishedAt": now_text()}
        if message:
            ended["message"] = message
        if self._process is not None:
            ended["containerID"] = f"lab://{self._process.pid}"
        self._state = {"terminated": ended}
        self._around.changed()

    async def _back_off(self) -> None:
        self._last_state = self._state
        why = f"back-off {self._backoff_s:g}s restarting failed container={self._spec['name']}"
        self._state = {"waiting": {"reason": "CrashLoopBackOff", "message": why}}
        self._around.changed()
        try:
            async with asyncio.timeout(self._backoff_s):
                await self._stopping.wait()
        except TimeoutError:
            self._backoff_s = min(BACKOFF_MAX_S, self._backoff_s * 2)

    def _target(self) -> probe.Target:
        ports = {p["name"]: p["containerPort"] for p in self._spec.get("ports") or [] if p.get("name")}
        return probe.Target(self._around.address, ports, self._execute)

    async def _execute(self, words: list[str], limit_s: float) -> int:
        process = self._around.launch(words)
        try:
            return await asyncio.wait_for(process.wait(), limit_s)
        finally:
            process.kill()

    def _start_probes(self) -> None:
        startup = self._spec.get("startupProbe")
        self._started = startup is None
        self._ready = self._started and not self._spec.get("readinessProbe")
        if startup is not None:
            self._add_probe(startup, self._on_startup, passed=False)
        else:
            self._start_other_probes()

    def _start_other_probes(self) -> None:
        if self._spec.get("readinessProbe"):
            self._add_probe(self._spec["readinessProbe"], self._on_readiness, passed=False)
        if self._spec.get("livenessProbe"):
            self._add_probe(self._spec["livenessProbe"], self._on_liveness, passed=True)

    def _add_probe(self, spec: Object, told: Callable[[bool, str], None], *, passed: bool) -> None:
        self._probes.append(asyncio.create_task(probe.watch(spec, self._target(), told, passed=passed)))

    def _cancel_probes(self) -> None:
        for task in self._probes:
            task.cancel()
        self._probes.clear()

    def _on_startup(self, passed: bool, why: str) -> None:
        if not passed:
            self._kill_unhealthy("startup", why)
            return
        if self._started:
            return
        self._cancel_probes()
        self._started = True
        self._ready = not self._spec.get("readinessProbe")
        self._start_other_probes()
        self._around.changed()

    def _on_readiness(self, passed: bool, why: str) -> None:
        if passed != self._ready:
            log.info("container %s: %s", self._around.label, f"not ready: {why}" if why else "ready")
            self._ready = passed
            self._around.changed()

    def _on_liveness(self, passed: bool, why: str) -> None:
        if not passed:
            self._kill_unhealthy("liveness", why)

    def _kill_unhealthy(self, which: str, why: str) -> None:
        if self._process is None or self._killed_because:
            return
        self._killed_because = f"{which} probe failed: {why}"
        log.warning("container %s: %s", self._around.label, self._killed_because)
        self._ending = asyncio.create_task(self._process.end(self._around.grace_s, self._hurry))
