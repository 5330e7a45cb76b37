"""Asks the scheduler's extender about a pod, or about pods that might be, where the caller can reach it.

Through the API server, which needs the right to `pods/proxy`, and at the same time straight at the pod's address,
which only a machine inside the cluster's network reaches: the first answer counts.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
import orjson

from ingle_cli.access import CallersKube
from ingle_cli.objects import Object
from ingle_kit.kube import KubeError
from ingle_kit.names import LABEL_COMPONENT, POD, PORT_EXTENDER, SYSTEM_NAMESPACE
from ingle_kit.whatif import Answer, Question

PROXY_TIMEOUT_S: Final = 3.0
DIRECT_TIMEOUT_S: Final = 1.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
SCHEDULERS_MAX: Final = 3


async def ask_scheduler(kube: CallersKube, pod: Object) -> dict[str, Any] | None:
    """The answer of the scheduler that decided about the pod, else of any; None where none can be asked."""
    metadata = pod["metadata"]
    question = f"/explain/{metadata['namespace']}/{metadata['name']}"
    best: dict[str, Any] | None = None
    for scheduler in await _schedulers(kube):
        # Anybody may answer at an address outside the cluster's network: only one about this very pod counts.
        answer = await _ask_one(kube, scheduler, question, ("uid", metadata["uid"]))
        if answer is not None and answer.get("last"):
            return answer
        best = best or answer
    return best


async def ask_whatif(kube: CallersKube, question: Question) -> Answer | None:
    """Where the pods would go as the scheduler sees it; None where it cannot be asked or answers in another shape.

    It is asked by reading, so that nobody needs a right to write.
    """
    path = "/v1/whatif?" + urlencode({"q": msgspec.json.encode(question).decode()})
    for scheduler in await _schedulers(kube):
        told = await _ask_one(kube, scheduler, path, ("id", question.id))
        if told is not None:
            try:
                return msgspec.convert(told, Answer)
            except msgspec.ValidationError:
                continue
    return None


async def _schedulers(kube: CallersKube) -> list[Object]:
    try:
        found, _ = await kube.list(POD, SYSTEM_NAMESPACE, label_selector=f"{LABEL_COMPONENT}=scheduler")
    except KubeError:
        return []
    running = [one for one in found if (one.get("status") or {}).get("phase") == "Running"]
    return running[:SCHEDULERS_MAX]


async def _ask_one(
    kube: CallersKube, scheduler: Object, question: str, known_by: tuple[str, str]
) -> dict[str, Any] | None:
    """The first answer, by either way, that has this field with this value."""
    field, value = known_by
    address = scheduler["status"].get("podIP", "")
    ways = [asyncio.ensure_future(_proxied(kube, scheduler["metadata"]["name"], question))]
    if address:
        url = f"http://{_bracketed(address)}:{PORT_EXTENDER}{question}"
        ways.append(asyncio.ensure_future(_direct(url)))
    try:
        for way in asyncio.as_completed(ways):
            answer = await way
            if isinstance(answer, dict) and answer.get(field) == value:
                return answer
        return None
    finally:
        for task in ways:
            task.cancel()


async def _proxied(kube: CallersKube, scheduler: str, question: str) -> Any:
    place = f"{POD.path(SYSTEM_NAMESPACE, scheduler)}:{PORT_EXTENDER}/proxy"
    try:
        return await kube.request("GET", place + question, timeout_s=PROXY_TIMEOUT_S)
    except KubeError:
        return None


async def _direct(url: str) -> Any:
    limit = aiohttp.ClientTimeout(total=DIRECT_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
            if answer.status != 200:
                return None
            text = await answer.content.read(ANSWER_BYTES_MAX)
            while not answer.content.at_eof() and len(text) < ANSWER_BYTES_MAX:
                text += await answer.content.read(ANSWER_BYTES_MAX - len(text))
            return orjson.loads(text)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
