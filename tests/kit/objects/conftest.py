"""A real API server with our CRDs, shared by the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from ingle_kit.kube import Kube, KubeError, Object
from ingle_kit.names import Kind
from ingle_lab.controlplane import ControlPlane

T = TypeVar("T")


class Server:
    """The API server as administrator; blocking, for tests."""

    def __init__(self, runner: asyncio.Runner, kube: Kube) -> None:
        self._runner, self.kube = runner, kube

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def refusal(self, kind: Kind, spec: Any, name: str = "x") -> KubeError | None:
        """Why the server would not create the object; None when it would. Unknown fields are errors."""
        body = wrap(kind, spec, name)
        path = kind.path("default" if kind.namespaced else None)
        try:
            self.run(
                self.kube.request(
                    "POST", path, body=body, query={"dryRun": "All", "fieldValidation": "Strict"}
                )
            )
        except KubeError as error:
            return error
        return None


def wrap(kind: Kind, spec: Any, name: str) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="session")
def server(bare_plane: ControlPlane, handover: Callable[[ControlPlane], ControlPlane]) -> Iterator[Server]:
    handover(bare_plane)
    with asyncio.Runner() as runner:
        kube = Kube.connect(user_agent="tests", kubeconfig=str(bare_plane.kubeconfig))
        try:
            yield Server(runner, kube)
        finally:
            runner.run(kube.close())
