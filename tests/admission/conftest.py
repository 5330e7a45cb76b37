"""A real API server with our CRDs, accounts, rights and policies, and a client for each account."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ingle_kit.kube import Forbidden, Kube, KubeError, Object
from ingle_kit.names import GPU_NODE, NAMESPACE, NODE, POD, Kind
from ingle_lab.controlplane import ControlPlane

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False
)


class Cluster:
    """The API server through the eyes of each account; blocking, for tests."""

    def __init__(self, plane: ControlPlane, runner: asyncio.Runner, folder: Path) -> None:
        self.plane, self._runner, self._folder = plane, runner, folder
        self._kubes: dict[str, Kube] = {}
        self.admin = self._connect("admin", plane.kubeconfig)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def _connect(self, key: str, kubeconfig: Path) -> Kube:
        self._kubes[key] = Kube.connect(user_agent="tests", kubeconfig=str(kubeconfig))
        return self._kubes[key]

    def account(self, name: str, bound_kind: str | None = None, bound_name: str | None = None) -> Kube:
        """One of our service accounts, with a token that may be bound to a node or a pod of ingle-system."""
        key = f"{name}-{bound_kind}-{bound_name}"
        if key not in self._kubes:
            token = self.plane.service_account_token(
                "ingle-system", f"ingle-{name}", bound_kind=bound_kind, bound_name=bound_name
            )
            self._connect(key, self.plane.token_kubeconfig(self._folder / key, token))
        return self._kubes[key]

    def kubelet(self, node: str) -> Kube:
        key = f"kubelet-{node}"
        return self._kubes.get(key) or self._connect(key, self.plane.node_kubeconfig(node))

    def refusal(self, call: Coroutine[Any, Any, Any]) -> str:
        """The message with which the call is forbidden; fails when it is not."""
        with pytest.raises(Forbidden) as problem:
            self.run(call)
        return problem.value.message

    def allowed(self, account: str, verb: str, resource: str, namespace: str = "") -> bool:
        """Whether RBAC lets an account do that; `resource` is GROUP/PLURAL or GROUP/PLURAL/SUBRESOURCE."""
        user = f"system:serviceaccount:ingle-system:ingle-{account}"
        groups = ["system:serviceaccounts", "system:serviceaccounts:ingle-system"]
        return self.user_allowed(user, verb, resource, namespace, groups)

    def user_allowed(
        self, user: str, verb: str, resource: str, namespace: str, groups: Sequence[str] = ()
    ) -> bool:
        group, plural, *sub = resource.split("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
        attributes |= {"subresource": sub[0]} if sub else {}
        spec = {"user": user, "groups": [*groups, "system:authenticated"], "resourceAttributes": attributes}
        body = {
            "apiVersion": SUBJECT_ACCESS_REVIEW.api_version,
            "kind": SUBJECT_ACCESS_REVIEW.kind,
            "spec": spec,
        }
        return bool(self.run(self.admin.create(SUBJECT_ACCESS_REVIEW, body))["status"]["allowed"])

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state; fails after 30 s."""
        deadline_s = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline_s, "waited 30 s"

    def close(self) -> None:
        for kube in self._kubes.values():
            self.run(kube.close())


@pytest.fixture(scope="session")
def cluster(
    guarded_plane: ControlPlane,
    handover: Callable[[ControlPlane], ControlPlane],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    plane = handover(guarded_plane)
    with asyncio.Runner() as runner:
        cluster = Cluster(plane, runner, tmp_path_factory.mktemp("kubeconfigs"))
        try:
            _until_policies_act(cluster)
            _add_objects(cluster)
            yield cluster
        finally:
            cluster.close()


def _until_policies_act(cluster: Cluster) -> None:
    """The API server takes policies and roles over in the background."""
    deadline_s = time.monotonic() + 30
    outcomes: list[str] = []
    while time.monotonic() < deadline_s:
        canaries: list[Coroutine[Any, Any, Object]] = [
            cluster.admin.create(GPU_NODE, ledger("canary"), dry_run=True),
            cluster.admin.create(POD, pod("canary") | {"spec": spec(schedulerName="ingle")}, dry_run=True),
        ]
        outcomes.clear()
        for canary in canaries:
            try:
                cluster.run(canary)
                outcomes.append("accepted")
            except KubeError as error:
                outcomes.append(error.message)
        known = cluster.allowed("agent", "patch", "ingle.dev/gpunodes/status")
        if known and all("denied request" in outcome for outcome in outcomes):
            return
    raise AssertionError(f"the policies do not act: {outcomes}")


def _add_objects(cluster: Cluster) -> None:
    operator = cluster.account("operator")
    for name in ("gpu-1", "gpu-2"):
        cluster.run(
            cluster.admin.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        )
        cluster.run(operator.create(GPU_NODE, ledger(name)))
    for name, labels in (("plain", {}), ("vip", {"ingle.dev/allow-high": "true"})):
        metadata = {"name": name, "labels": labels}
        cluster.run(
            cluster.admin.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        )


def ledger(name: str) -> Object:
    spec = {"revision": 1, "gpus": [], "zones": [], "pods": []}
    return {"apiVersion": "ingle.dev/v1alpha1", "kind": "GPUNode", "metadata": {"name": name}, "spec": spec}


def spec(container: Object | None = None, **fields: Any) -> Object:
    return {"containers": [{"name": "c", "image": "i", **(container or {})}], **fields}


def pod(name: str, **metadata: Any) -> Object:
    meta = {"name": name, "namespace": "default", **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec()}


@pytest.fixture
def made(cluster: Cluster) -> Iterator[Any]:
    """Makes pods as an account and removes them at the end."""
    names: list[str] = []

    def make(body: Object, kube: Kube | None = None) -> Object:
        names.append(body["metadata"]["name"])
        return cluster.run((kube or cluster.admin).create(POD, body))

    yield make
    for name in names:
        with contextlib.suppress(KubeError):
            cluster.run(cluster.admin.delete(POD, name, "default", grace_s=0))


@pytest.fixture(scope="session")
def bodies() -> Any:
    """Makers of objects: `bodies.pod`, `bodies.spec`, `bodies.ledger`."""
    return type(
        "Bodies", (), {"pod": staticmethod(pod), "spec": staticmethod(spec), "ledger": staticmethod(ledger)}
    )
