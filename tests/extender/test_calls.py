"""kube-scheduler's two calls, ahead of all other routes; a body is read whole or refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive

from ingle_extender.app import make_app
from ingle_extender.calls import BODY_BYTES_MAX, body_of
from ingle_extender.extender import Extender
from ingle_extender.settings import Settings
from ingle_kit.kube import Kube


def receive_of(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_put_together_from_its_parts() -> None:
    assert await body_of(receive_of(part(b"a", more=True), part(b"b", more=False))) == b"ab"
    assert await body_of(receive_of({"type": "http.request"})) == b""


async def test_a_body_that_is_too_large_or_cut_off_is_refused() -> None:
    large = part(b"x" * BODY_BYTES_MAX, more=True)
    with pytest.raises(ValueError, match="nodeCacheCapable"):
        await body_of(receive_of(large, part(b"x", more=False)))
    with pytest.raises(ValueError, match="gone"):
        await body_of(receive_of(part(b"a", more=True), {"type": "http.disconnect"}))


async def answer_of(method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Of an extender that has read nothing."""
    settings = Settings(filter_deadline_s=0.01)
    app = make_app(Extender(Kube.connect(user_agent="test"), settings))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive_of(part(body, more=False)), send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/filter", b"{", 200, b"filter arguments cannot be read"),
        ("POST", "/filter", b'{"Pod": {"metadata": {"name": "p"}}}', 200, b"has not read the cluster yet"),
        ("POST", "/bind", b"{}", 200, b"bind arguments cannot be read"),
        ("GET", "/healthz", b"", 503, b"has not read the cluster yet"),
        ("GET", "/filter", b"", 404, b"Not Found"),
    ],
)
async def test_each_call_reaches_its_route(
    method: str, path: str, body: bytes, status: int, text: bytes
) -> None:
    found = await answer_of(method, path, body)
    assert found[0] == status
    assert text in found[1]
