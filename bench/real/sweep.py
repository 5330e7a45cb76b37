"""Releases orphaned claims by the operator's rule, on live reads: the ledgers first, then the pods."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from datetime import datetime
from functools import partial

from bench.real.bulk import Bulk
from bench.real.podwatch import PodSeen
from ingle_core.ledger import Ledger, Op, applied, difference, release
from ingle_core.ledger.records import Holder
from ingle_kit.ledger import write

GONE_S = 1.0


async def sweep(bulk: Bulk, *, orphan_s: float, gone_s: float = GONE_S) -> int:
    """Releases claims of pods that are gone, and of those bound elsewhere or nowhere for `orphan_s`; says how many."""
    ledgers = await bulk.ledgers()
    pods = {pod.uid: pod for pod in await bulk.pods()}
    now_s = time.time()
    orphans: defaultdict[str, list[Holder]] = defaultdict(list)
    for node, ledger in ledgers.items():
        for holder in ledger.pods:
            if _orphaned(holder, node, pods.get(holder.uid), now_s, orphan_s, gone_s):
                orphans[node].append(holder)
    await asyncio.gather(
        *(
            write(bulk.kube, node, partial(_released, judged=holders), attempts=50, jitter=_jitter)
            for node, holders in orphans.items()
        )
    )
    return sum(map(len, orphans.values()))


async def keep_sweeping(bulk: Bulk, *, orphan_s: float, gone_s: float, every_s: float) -> None:
    """Until cancelled."""
    while True:
        await sweep(bulk, orphan_s=orphan_s, gone_s=gone_s)
        await asyncio.sleep(every_s)


def _orphaned(
    holder: Holder, node: str, pod: PodSeen | None, now_s: float, orphan_s: float, gone_s: float
) -> bool:
    age_s = now_s - datetime.fromisoformat(holder.at).timestamp()
    if pod is None:
        return age_s >= gone_s
    return pod.node != node and age_s >= orphan_s


def _released(ledger: Ledger, judged: list[Holder]) -> list[Op]:
    """Only claims that are still as they were judged: one that is about to be bound has been made younger."""
    after = ledger
    for holder in judged:
        if ledger.holder(holder.uid) == holder:
            after = applied(after, release(after, holder.uid))
    return difference(ledger, after)


def _jitter(number: int) -> float:
    return random.uniform(0, 0.005 * number)
