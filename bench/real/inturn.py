"""One pod after the other, as a replay has them: where each went; what fits nowhere is not tried again."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import TracebackType
from typing import Any

import aiohttp

from bench.real.objects import NAMESPACE, Body, stamp
from bench.real.podwatch import PodSeen, PodWatch
from bench.real.site import Site
from ingle_core.ledger import move
from ingle_kit import names
from ingle_kit.ledger import Refused, write

FIRST_S = 90.0  # scheduler and extender may still be starting
LIMIT_S = 30.0
LOOK_EVERY_S = 0.005


class InTurn:
    """`async with` runs the watch that it needs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._watch = PodWatch(site.kube)
        self._session: aiohttp.ClientSession | None = None
        self._limit_s = FIRST_S

    async def __aenter__(self) -> InTurn:
        self._session = aiohttp.ClientSession()
        await self._watch.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.__aexit__(kind, error, trace)
        assert self._session is not None
        await self._session.close()

    async def place(self, body: Body) -> PodSeen | None:
        """The pod once it is bound; None when it fits nowhere: then it is gone.

        A cycle that failed for another reason than that is the scheduler's to repeat.
        """
        name = body["metadata"]["name"]
        await self._site.bulk.make_pods([body])

        def settled() -> bool:
            seen = self._watch.pods.get(name)
            return seen is not None and (bool(seen.node) or (seen.refusal or ("",))[0] == "Unschedulable")

        await self._watch.until(settled, f"pod {name} bound or refused", self._limit_s)
        self._limit_s = LIMIT_S
        pod = self._watch.pods[name]
        if pod.node:
            return pod
        await self._site.kube.delete(names.POD, name, NAMESPACE, grace_s=0)
        return None

    async def awake(self, pod: PodSeen, memory_mib: int) -> None:
        """Its engine has started, so that its GPUs may be shared; returns when the extender has seen it."""
        ends = partial(move, pod_uid=pod.uid, state="Awake", memory_mib=memory_mib, watts=0, at=stamp())
        outcome = await write(self._site.kube, pod.node, ends, attempts=20)
        if isinstance(outcome, Refused):
            raise RuntimeError(f"pod {pod.name} is not awake: {outcome.message}")
        async with asyncio.timeout(LIMIT_S):
            while True:
                if await self._state(pod) == "Awake":
                    return
                await asyncio.sleep(LOOK_EVERY_S)

    async def whatif(self, ask: Body) -> dict[str, Any]:
        """Where the extender would put a pod that asks this; empty when nowhere."""
        answer = await self._get("/v1/whatif", q=json.dumps({"ask": ask}))
        replicas: list[dict[str, Any]] = answer["replicas"]
        return replicas[0] if replicas else {}

    async def _state(self, pod: PodSeen) -> str:
        """What the extender knows of the pod's claim."""
        claim = (await self._get(f"/explain/{NAMESPACE}/{pod.name}")).get("claim")
        return str(claim["state"]) if claim else ""

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        assert self._session is not None
        async with self._session.get(self._site.url + path, params=query) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return found
