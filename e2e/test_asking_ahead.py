"""`ingle whatif` and `ingle explain` on a running cluster: they say what is decided, and write nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml

from ingle_kit.kube import Object
from ingle_kit.names import (
    INFERENCE_POOL,
    POD,
    PORT_EXTENDER,
    SERVICE_ACCOUNT,
    SYSTEM_NAMESPACE,
)
from ingle_lab.checks import writes_by_us
from ingle_lab.demo.scene import NAMESPACE, Scene
from ingle_lab.stack.objects import apply
from ingle_lab.stack.stack import ROOT

from .pools import applied, bound, engines, gpus_of, placed

VIEWER = "viewer"
RELAYED = "ingle-scheduler-1"  # a name that the viewers' role covers; the lab's own scheduler is -0
RBAC = "rbac.authorization.k8s.io"


def writes_of_the_command(log: Path, start: int) -> list[tuple[str, str]]:
    """(verb, URI) of every write since `start` by a program that calls itself `ingle`."""
    with log.open() as file:
        file.seek(start)
        events = [json.loads(line) for line in file]
    return [(e["verb"], e["requestURI"]) for e in events if e.get("userAgent", "").startswith("ingle/")]


async def test_a_pool_lands_exactly_where_what_if_said_and_asking_wrote_nothing(
    scene: Scene, ingle: Any, tmp_path: Path
) -> None:
    assert scene.stack.plane is not None
    pair = placed("pair", 50_000, 2)
    file = tmp_path / "pair.yaml"
    file.write_text(yaml.safe_dump(pair))
    log = scene.stack.plane.audit_log
    start = log.stat().st_size
    code, out, err = await ingle("whatif", "-f", str(file), "-o", "json")
    assert code == 0, err
    foretold = json.loads(out)
    assert (foretold["answeredBy"], foretold["checkedBy"]) == ("Scheduler", "APIServer")

    def tried() -> list[tuple[str, str]]:
        return writes_of_the_command(log, start)

    await scene.until("the audit log to have the dry run", tried, 10)
    assert [uri for _, uri in tried() if "dryRun=All" not in uri] == []
    assert writes_by_us(log, start) == []
    assert not await engines(scene, pair)
    async with applied(scene, INFERENCE_POOL, pair):
        pod = await bound(scene, pair)
    (said,) = foretold["replicas"]
    assert (pod["spec"]["nodeName"], gpus_of(pod)) == (said["node"], sorted(said["gpus"]))


@contextlib.asynccontextmanager
async def granted(scene: Scene, folder: Path) -> AsyncIterator[Path]:
    """The kubeconfig of somebody who may see all that docs/cli.md names, and no more."""
    plane = scene.stack.plane
    assert plane is not None
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": VIEWER, "namespace": NAMESPACE},
    }
    subjects = [{"kind": "ServiceAccount", "name": VIEWER, "namespace": NAMESPACE}]
    cluster, role = {"name": "e2e-viewer"}, {"name": "e2e-viewer", "namespace": SYSTEM_NAMESPACE}
    bindings: list[Object] = [
        {
            "kind": "ClusterRoleBinding",
            "metadata": cluster,
            "roleRef": _role("ClusterRole", "ingle-view-cluster"),
        },
        {"kind": "RoleBinding", "metadata": role, "roleRef": _role("Role", "ingle-view-scheduler")},
    ]
    for obj in (account, *({"apiVersion": f"{RBAC}/v1", **b, "subjects": subjects} for b in bindings)):
        await apply(scene.stack.api, obj)
    token = await asyncio.to_thread(plane.service_account_token, NAMESPACE, VIEWER)
    try:
        yield plane.token_kubeconfig(folder / "viewer.kubeconfig", token)
    finally:
        await scene.stack.api.delete(SERVICE_ACCOUNT, VIEWER, NAMESPACE)


def _role(kind: str, name: str) -> Object:
    return {"apiGroup": RBAC, "kind": kind, "name": name}


@pytest_asyncio.fixture(loop_scope="session")
async def viewer(scene: Scene, tmp_path: Path) -> AsyncIterator[Path]:
    async with granted(scene, tmp_path) as kubeconfig:
        yield kubeconfig


def own_address() -> str:
    """An address of this machine that is no loopback, empty where there is none: the API server connects to no other."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.255", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return ""


@contextlib.asynccontextmanager
async def relayed_scheduler(scene: Scene, address: str) -> AsyncIterator[None]:
    """A pod object with this address, and a relay from there to the lab's scheduler."""
    scheduler = await scene.stack.api.get(POD, "ingle-scheduler-0", SYSTEM_NAMESPACE)
    inside = scheduler["status"]["podIP"]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(inside, PORT_EXTENDER)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    metadata = {"name": RELAYED, "namespace": SYSTEM_NAMESPACE}
    spec = {"schedulerName": "nobody", "containers": [{"name": "extender", "image": "x"}]}
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    async with await asyncio.start_server(relay, address, PORT_EXTENDER):
        await scene.stack.api.create(POD, pod)
        try:
            await scene.stack.api.merge_patch(POD, RELAYED, status, SYSTEM_NAMESPACE, subresource="status")
            yield
        finally:
            await scene.stack.api.delete(POD, RELAYED, SYSTEM_NAMESPACE, grace_s=0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def has_page(reason: str) -> bool:
    """Whether docs/reasons.md explains it."""
    text = (ROOT / "docs" / "reasons.md").read_text()
    return f'<a id="{reason.lower()}"></a>' in text or f"\n### {reason}\n" in text


async def waiting_pod(scene: Scene, pool: Object) -> Object:
    """The pool's pod once kube-scheduler has found no node for it."""

    async def seen() -> Object | None:
        for pod in await engines(scene, pool):
            conditions = (pod.get("status") or {}).get("conditions") or ()
            if any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions):
                return pod
        return None

    pod: Object = await scene.until("the pod to fit nowhere", seen, 30)
    return pod


async def test_a_pod_that_waits_and_its_node_are_explained_to_a_viewer_by_reasons_that_have_a_page(
    scene: Scene, ingle: Any, viewer: Path
) -> None:
    (sleeper,) = scene.engines("llama-8b")
    node = sleeper["spec"]["nodeName"]
    gpus = scene.gpu_nodes.store[("", node)]["spec"]["gpus"]
    whole_mib = min(gpu["allocatableMiB"] for gpu in gpus) - 100  # it fits there, but not beside the sleeper
    wide = placed("wide", whole_mib, len(gpus), node=node, priority="Low")
    async with applied(scene, INFERENCE_POOL, wide):
        pod = await waiting_pod(scene, wide)
        of_pod, of_node = await asyncio.gather(
            ingle("explain", f"pod/{pod['metadata']['name']}", "-n", NAMESPACE, kubeconfig=viewer),
            ingle("explain", f"node/{node}", "--ask", f"{len(gpus)}x{whole_mib}", kubeconfig=viewer),
        )
    for code, out, err in (of_pod, of_node):
        assert code == 0, err
        assert "InsufficientMemory" in out
    assert "WHY PENDING: no node fits" in of_pod[1]
    assert "(seen by the scheduler)" in of_pod[1]
    assert f"It would not take {len(gpus)} × {whole_mib} MiB: InsufficientMemory" in of_node[1]


async def test_a_viewer_reads_the_scheduler_through_the_api_server_and_can_do_nothing_there(
    scene: Scene, kubectl: Any, viewer: Path
) -> None:
    (pod,) = scene.engines("llama-8b")
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    address = own_address()
    place = POD.path(SYSTEM_NAMESPACE, RELAYED if address else "ingle-scheduler-0")
    proxy = f"{place}:{PORT_EXTENDER}/proxy"
    async with relayed_scheduler(scene, address) if address else contextlib.nullcontext():
        question = f"{proxy}/explain/{NAMESPACE}/{name}"
        code, out, err = await kubectl("get", "--raw", question, kubeconfig=viewer)
        if address:
            assert code == 0, err
            assert json.loads(out)["uid"] == uid
            verdicts = [one["reason"] for one in json.loads(out)["now"]["nodes"]]
            assert [reason for reason in verdicts if not has_page(reason)] == []
        else:
            assert "address not allowed" in err  # past the rights, stopped by the lab's loopback address
        words = ("create", "--raw", f"{proxy}/bind", "-f", "-")
        code, _, err = await kubectl(*words, text="{}", kubeconfig=viewer)
        assert code != 0
        assert "orbidden" in err
