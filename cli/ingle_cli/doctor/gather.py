"""Reads everything that `doctor` judges, at once; what may not be read is kept with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Final, TypeVar

from ingle_cli.access import CallersKube
from ingle_cli.doctor.facts import Facts, Object, Right, Unread
from ingle_cli.doctor.needs import NEEDS, OWN
from ingle_cli.doctor.reach import reached
from ingle_cli.failures import failure
from ingle_kit.kube import Forbidden, KubeError, NotFound, Unavailable
from ingle_kit.names import (
    CRD,
    GPU_NODE,
    LABEL_COMPONENT,
    LABEL_POOL,
    LEASE,
    NODE,
    POD,
    PORT_EXTENDER,
    PORT_ROUTER,
    SYSTEM_NAMESPACE,
    Kind,
)
from ingle_kit.objects.kinds import DEFINITIONS

T = TypeVar("T")
AT_ONCE: Final = 16
CHUNK: Final = 1000
PORTS: Final = {"scheduler": PORT_EXTENDER, "gateway": PORT_ROUTER}
LEASES: Final = ("ingle-operator", "ingle-scheduler")
GUARDS: Final = tuple(
    f"{name}.ingle.dev" for name in ("agent-own-node", "bindings", "engine-pods", "high-priority", "ledger")
)
FLOWS: Final = ("ingle", "ingle-leases")

_ADMISSION: Final = "admissionregistration.k8s.io"
_POLICY: Final = Kind(_ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False)
_BINDING: Final = Kind(
    _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False
)
_FLOW: Final = Kind("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", False)
_REVIEWS: Final = "/apis/authorization.k8s.io/v1"


class _Reader:
    """Reads with a bound on how much at once. Raises where the API server cannot be reached at all."""

    def __init__(self, kube: CallersKube) -> None:
        self._kube = kube
        self._places = asyncio.Semaphore(AT_ONCE)

    async def read(self, reading: Awaitable[T]) -> T | Unread:
        async with self._places:
            try:
                return await reading
            except (Unavailable, Forbidden) as error:
                if error.status in (0, 401):
                    raise
                return Unread(failure([error], self._kube.server).sentence.partition(": ask for")[0])
            except KubeError as error:
                return Unread(failure([error], self._kube.server).sentence)

    async def one(self, kind: Kind, name: str, namespace: str | None = None) -> Object | Unread:
        async def get() -> Object:
            try:
                return await self._kube.get(kind, name, namespace)
            except NotFound:
                return {}

        return await self.read(get())

    async def several(
        self, kind: Kind, names: tuple[str, ...], namespace: str | None = None
    ) -> dict[str, Object | Unread]:
        found = await asyncio.gather(*(self.one(kind, name, namespace) for name in names))
        return dict(zip(names, found, strict=True))

    async def all(self, kind: Kind, namespace: str | None = None, label: str = "") -> list[Object] | Unread:
        async def items() -> list[Object]:
            try:
                return (await self._kube.list(kind, namespace, label_selector=label, limit=CHUNK))[0]
            except NotFound:
                return []  # the kind itself is missing, which has a check of its own

        return await self.read(items())

    async def allowed(self, account: str | None, rights: tuple[Right, ...]) -> dict[Right, bool | Unread]:
        answers = await asyncio.gather(*(self.read(_allowed(self._kube, account, right)) for right in rights))
        return dict(zip(rights, answers, strict=True))


async def read_facts(kube: CallersKube, now_s: float) -> Facts:
    """Raises KubeError where nobody answers or the caller is nobody."""
    reader = _Reader(kube)
    kubernetes = await reader.read(
        _version(kube)
    )  # alone: without an answer here the rest is not worth asking
    accounts: tuple[str | None, ...] = (None, *NEEDS)
    kinds = tuple(f"{definition.kind.plural}.{definition.kind.group}" for definition in DEFINITIONS)
    definitions, leases, guards, flows = await asyncio.gather(
        reader.several(CRD, kinds),
        reader.several(LEASE, LEASES, SYSTEM_NAMESPACE),
        _guards(reader),
        reader.several(_FLOW, FLOWS),
    )
    pods, engines, nodes, gpu_nodes = await asyncio.gather(
        reader.all(POD, SYSTEM_NAMESPACE, LABEL_COMPONENT),
        reader.all(POD, label=LABEL_POOL),
        reader.all(NODE),
        reader.all(GPU_NODE),
    )
    allowed = await asyncio.gather(
        *(reader.allowed(one, OWN if one is None else NEEDS[one]) for one in accounts)
    )
    return Facts(
        now_s=now_s,
        version=version("ingle"),
        kubernetes=kubernetes,
        definitions=definitions,
        pods=pods,
        engines=engines,
        nodes=nodes,
        gpu_nodes=gpu_nodes,
        leases=leases,
        guards=guards,
        flows=flows,
        allowed=dict(zip(accounts, allowed, strict=True)),
        reached=await _reached(kube, pods),
    )


async def _guards(reader: _Reader) -> dict[str, Object | Unread]:
    """Admission policies by name; {} also where one stands without its binding, for it does nothing then."""
    policies, bindings = await asyncio.gather(
        reader.several(_POLICY, GUARDS), reader.several(_BINDING, GUARDS)
    )
    found: dict[str, Object | Unread] = {}
    for name in GUARDS:
        policy, binding = policies[name], bindings[name]
        unread = next((one for one in (policy, binding) if isinstance(one, Unread)), None)
        found[name] = unread or (policy if policy and binding else {})
    return found


async def _version(kube: CallersKube) -> str:
    return str((await kube.request("GET", "/version")).get("gitVersion", ""))


async def _allowed(kube: CallersKube, account: str | None, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource} | {
        key: value
        for key, value in (
            ("subresource", subresource),
            ("namespace", right.namespace),
            ("name", right.name),
        )
        if value
    }
    spec: Object = {"resourceAttributes": attributes}
    kind, plural = "SelfSubjectAccessReview", "selfsubjectaccessreviews"
    if account is not None:
        kind, plural = "SubjectAccessReview", "subjectaccessreviews"
        spec["user"] = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"
        spec["groups"] = [f"system:serviceaccounts:{SYSTEM_NAMESPACE}", "system:authenticated"]
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = await kube.request("POST", f"{_REVIEWS}/{plural}", body=body)
    return bool((answer.get("status") or {}).get("allowed"))


async def _reached(kube: CallersKube, pods: list[Object] | Unread) -> dict[str, bool | Unread]:
    if isinstance(pods, Unread):
        return {}
    asked = [
        (pod, port)
        for pod in pods
        if (pod.get("status") or {}).get("phase") == "Running"
        for port in (PORTS.get((pod["metadata"].get("labels") or {}).get(LABEL_COMPONENT, "")),)
        if port is not None
    ][:AT_ONCE]
    answers = await asyncio.gather(*(reached(kube, pod, port) for pod, port in asked))
    return {pod["metadata"]["name"]: answer for (pod, _), answer in zip(asked, answers, strict=True)}
