"""Leadership by a Lease, with fencing: nobody acts on a lease that may have passed to another.

`valid_for_s` counts from *before* the renewal was sent, on the monotonic clock, so a process that was stopped
(SIGSTOP, a long pause) knows on its first step afterwards that its time is over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingle_kit.kube import Conflict, Kube, KubeError, NotFound, Object
from ingle_kit.names import LEASE

log = logging.getLogger(__name__)


class NotLeader(Exception):
    """The lease does not outlive what was to be done."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds: how long a lease lasts, how often it is renewed, the time limit of one call."""

    duration_s: float = 15.0
    renew_s: float = 2.0
    call_s: float = 5.0


class Leader:
    """Competes for one Lease. `identity` is the pod's name and UID: a restarted container takes its lease back."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._times, self._clock = times, clock
        self._until_s = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)
        self.epoch = 0
        self.leading = asyncio.Event()
        self.lost = asyncio.Event()

    def valid_for_s(self) -> float:
        """Seconds for which nobody else can be leader; negative when we are not."""
        return self._until_s - self._clock()

    def check(self, limit_s: float) -> None:
        """Raises NotLeader unless the lease outlives `limit_s` from now."""
        if self.valid_for_s() <= limit_s:
            raise NotLeader(
                f"lease {self._name} is valid for {self.valid_for_s():.1f} s, {limit_s:.1f} s are needed"
            )

    async def run(self) -> None:
        """Acquires, then renews; returns once the lease was lost after it was held (`lost` is set)."""
        while True:
            try:
                await self._round()
            except KubeError as error:
                log.warning("lease %s: %s", self._name, error)
            if self.leading.is_set() and self.valid_for_s() <= 0:
                self.lost.set()
                return
            await asyncio.sleep(self._times.renew_s if self.leading.is_set() else self._times.renew_s / 4)

    async def release(self) -> None:
        """Gives the lease up, so that a successor need not wait; only what is still ours."""
        if self.valid_for_s() <= 0:
            return
        self._until_s = float("-inf")
        lease = await self._kube.get(LEASE, self._name, self._namespace)
        if lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._kube.replace(LEASE, lease)

    async def _round(self) -> None:
        sent_s = self._clock()
        try:
            lease = await self._call("GET", None)
        except NotFound:
            await self._write("POST", self._body({}, transitions=1), sent_s)
            return
        if self._clock() - sent_s > self._times.call_s:
            return  # we were stopped meanwhile: what was read is too old to be answered
        spec = lease["spec"]
        if spec.get("holderIdentity") == self._identity and self.leading.is_set():
            await self._write("PUT", self._renewed(lease, int(spec.get("leaseTransitions", 0))), sent_s)
        elif spec.get("holderIdentity") in ("", None, self._identity) or self._expired(spec):
            await self._write("PUT", self._renewed(lease, int(spec.get("leaseTransitions", 0)) + 1), sent_s)
        else:
            self._until_s = float("-inf")

    def _expired(self, spec: dict[str, Any]) -> bool:
        """Judged by our own clock: the holder's renewals have stood still for its whole duration."""
        stamp = f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
        if stamp != self._seen[0]:
            self._seen = (stamp, self._clock())
        return self._clock() - self._seen[1] > float(
            spec.get("leaseDurationSeconds") or self._times.duration_s
        )

    def _renewed(self, lease: Object, transitions: int) -> Object:
        return lease | {"spec": self._body(lease["spec"], transitions)["spec"]}

    def _body(self, old: dict[str, Any], transitions: int) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = old.get("leaseTransitions") == transitions
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": math.ceil(self._times.duration_s),
                "leaseTransitions": transitions,
                "renewTime": now,
                "acquireTime": old.get("acquireTime", now) if same else now,
            },
        }

    async def _write(self, method: str, body: Object, sent_s: float) -> None:
        try:
            lease = await self._call(method, body)
        except Conflict:
            return
        self.epoch = int(lease["spec"]["leaseTransitions"])
        self._until_s = sent_s + self._times.duration_s
        if not self.leading.is_set():
            log.info("leading with epoch %d", self.epoch)
            self.leading.set()

    async def _call(self, method: str, body: Object | None) -> Object:
        name = None if method == "POST" else self._name
        path = LEASE.path(self._namespace, name)
        return await self._kube.request(method, path, body=body, timeout_s=self._times.call_s)
