"""Kubernetes access that writes only while our lease outlives the write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingle_kit.kube import Kube, Object


class FencedKube(Kube):
    """Like `Kube`, but every write first calls `fence(limit_s)`, which raises when our lease is too short.

    `limit_s` is the write's own time limit, so no write of ours can arrive after another leader's first.
    """

    def __init__(
        self, *, fence: Callable[[float], None], write_limit_s: float, kubeconfig: str | None = None
    ) -> None:
        super().__init__(user_agent="ingle-operator", kubeconfig=kubeconfig, timeout_s=10.0)
        self._fence, self._write_limit_s = fence, write_limit_s

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> Object:
        if method != "GET":
            await self._open()
            timeout_s = min(timeout_s or self._write_limit_s, self._write_limit_s)
            self._fence(timeout_s)
        return await super().request(
            method, path, body=body, query=query, content_type=content_type, timeout_s=timeout_s
        )
