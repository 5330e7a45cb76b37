"""A small typed layer over the Kubernetes API: raw JSON in and out, errors by what the caller may do next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from ingle_kit.credentials import Access, load_access
from ingle_kit.names import Kind

Object = dict[str, Any]
PatchOps = list[Object]

JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
CONNECTIONS_MAX = 64
LINE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Cause:
    """One reason of a refusal: the field's path and what is wrong with it."""

    field: str
    message: str


class KubeError(Exception):
    """The API server said no. `reason` is Kubernetes' own word, e.g. `Invalid`; `causes` may be empty."""

    def __init__(self, status: int, reason: str, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.causes = status, reason, message, causes


class NotFound(KubeError):
    """No such object."""


class Conflict(KubeError):
    """Somebody else changed it, or it exists already (`reason` AlreadyExists)."""


class Invalid(KubeError):
    """The object breaks a rule; `causes` name the fields."""


class Gone(KubeError):
    """The resource version is too old: list again."""


class Forbidden(KubeError):
    """We are not who we say, or may not do this."""


class Unavailable(KubeError):
    """Overload, server fault, lost connection or time-out: may be tried again."""


_BY_STATUS: dict[int, type[KubeError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Unavailable,
}


def error_of(status: int, body: Object) -> KubeError:
    """The error that an answer of the API server stands for."""
    details = body.get("details") or {}
    causes = tuple(Cause(c.get("field", ""), c.get("message", "")) for c in details.get("causes") or ())
    kind = Unavailable if status >= 500 else _BY_STATUS.get(status, KubeError)
    return kind(status, body.get("reason", ""), body.get("message", ""), causes)


class Kube:
    """A connection to one API server. Make it inside a running event loop; close it or use `async with`."""

    def __init__(
        self,
        *,
        user_agent: str,
        kubeconfig: str | None,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._user_agent = user_agent
        self._connections_max = connections_max
        self._kubeconfig = kubeconfig
        self._timeout_s = timeout_s
        self._access: Access | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    @classmethod
    def connect(
        cls,
        *,
        user_agent: str,
        kubeconfig: str | None = None,
        timeout_s: float = 10.0,
        connections_max: int = CONNECTIONS_MAX,
    ) -> Kube:
        """Nothing is read or sent before the first request. Each watch holds one of the connections."""
        return cls(
            user_agent=user_agent,
            kubeconfig=kubeconfig,
            timeout_s=timeout_s,
            connections_max=connections_max,
        )

    async def __aenter__(self) -> Kube:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _open(self) -> tuple[aiohttp.ClientSession, Access]:
        async with self._opening:
            if self._access is None:
                self._access = await load_access(self._kubeconfig)
            if self._session is None:
                tls, limit = self._access.tls or False, self._connections_max
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=tls, limit=limit),
                    headers={"User-Agent": self._user_agent, "Accept": "application/json"},
                    read_bufsize=LINE_BYTES_MAX,
                )
            return self._session, self._access

    async def _headers(self, access: Access, content_type: str) -> dict[str, str]:
        headers = {"Content-Type": content_type}
        authorization = await access.authorization()
        if authorization:
            headers["Authorization"] = authorization
        return headers

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
        """One call. Raises a KubeError; a lost connection or a time-out is `Unavailable`."""
        session, access = await self._open()
        try:
            async with session.request(
                method,
                access.server + path,
                data=None if body is None else orjson.dumps(body),
                params=query,
                headers=await self._headers(access, content_type),
                timeout=aiohttp.ClientTimeout(total=timeout_s or self._timeout_s),
            ) as answer:
                text = await answer.read()
                return _decoded(answer.status, text)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(0, type(error).__name__, f"{method} {path}: {error}") from error

    async def get(
        self, kind: Kind, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        return await self.request("GET", kind.path(namespace, name, subresource))

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> tuple[list[Object], str]:
        """All objects, fetched in chunks of `limit`, and the resource version to watch from."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=str(limit))
        items: list[Object] = []
        while True:
            page = await self.request("GET", kind.path(namespace), query=query)
            items += page.get("items") or []
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return items, metadata["resourceVersion"]
            query["continue"] = metadata["continue"]

    async def create(
        self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False
    ) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace")
        query = {"dryRun": "All"} if dry_run else None
        return await self.request("POST", kind.path(where), body=obj, query=query)

    async def replace(self, kind: Kind, obj: Object) -> Object:
        metadata = obj["metadata"]
        return await self.request("PUT", kind.path(metadata.get("namespace"), metadata["name"]), body=obj)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Deletes; an object that is gone already is a success. `uid` guards against a namesake (Conflict)."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            await self.request("DELETE", kind.path(namespace, name), body=body)
        except NotFound:
            return

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        ops: PatchOps,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        path = kind.path(namespace, name, subresource)
        return await self.request("PATCH", path, body=ops, content_type=JSON_PATCH)

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Object,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        path = kind.path(namespace, name, subresource)
        return await self.request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def strategic_patch(
        self,
        kind: Kind,
        name: str,
        patch: Object,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Merges lists of built-in kinds by their keys, e.g. one pod condition by its type."""
        path = kind.path(namespace, name, subresource)
        return await self.request("PATCH", path, body=patch, content_type=STRATEGIC_PATCH)

    async def apply(
        self, kind: Kind, obj: Object, *, manager: str, subresource: str | None = None, force: bool = False
    ) -> Object:
        """Server-side apply. Raises Conflict where another manager owns a field and `force` is False."""
        metadata = obj["metadata"]
        return await self.request(
            "PATCH",
            kind.path(metadata.get("namespace"), metadata["name"], subresource),
            body=obj,
            query=_query(fieldManager=manager, force="true" if force else ""),
            content_type=APPLY_PATCH,
        )

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 300,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Events `(type, object)` with bookmarks, until the server ends the watch after `timeout_s`.

        Silence of more than 90 s (bookmarks come each minute) is a lost connection: `Unavailable`.
        """
        session, access = await self._open()
        query = _query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout_s),
        )
        try:
            async with session.get(
                access.server + kind.path(namespace),
                params=query,
                headers=await self._headers(access, "application/json"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=90),
            ) as answer:
                if answer.status != 200:
                    _decoded(answer.status, await answer.read())
                async for line in answer.content:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise error_of(int(event["object"].get("code", 500)), event["object"])
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(0, type(error).__name__, f"watch {kind.plural}: {error}") from error


def _query(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _decoded(status: int, text: bytes) -> Object:
    try:
        body = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        body = {"message": text[:500].decode(errors="replace")}
    if status >= 400:
        raise error_of(status, body if isinstance(body, dict) else {})
    return body if isinstance(body, dict) else {"items": body}
