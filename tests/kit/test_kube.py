"""The Kubernetes layer against a real API server: errors by what the caller may do next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingle_kit.kube import Conflict, Forbidden, Invalid, Kube, NotFound, Unavailable
from ingle_kit.names import NAMESPACE, SERVICE_ACCOUNT, Kind
from ingle_lab.controlplane import ControlPlane

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True)


@pytest.fixture(scope="module")
def plane(bare_plane: ControlPlane) -> ControlPlane:
    return bare_plane


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[Kube]:
    async with Kube.connect(user_agent="kit-test", kubeconfig=str(plane.kubeconfig)) as kube:
        yield kube
        for obj in (await kube.list(CONFIG_MAP, "default", label_selector="test"))[0]:
            await kube.delete(CONFIG_MAP, obj["metadata"]["name"], "default")


def config_map(name: str, **data: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": "default", "labels": {"test": "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_an_object_is_made_read_patched_and_deleted(kube: Kube) -> None:
    made = await kube.create(CONFIG_MAP, config_map("a", x="1"))
    assert (await kube.get(CONFIG_MAP, "a", "default"))["metadata"]["uid"] == made["metadata"]["uid"]
    await kube.merge_patch(CONFIG_MAP, "a", {"data": {"x": "2"}}, "default")
    ops = [{"op": "test", "path": "/data/x", "value": "2"}, {"op": "add", "path": "/data/y", "value": "3"}]
    assert (await kube.json_patch(CONFIG_MAP, "a", ops, "default"))["data"] == {"x": "2", "y": "3"}
    await kube.delete(CONFIG_MAP, "a", "default")
    await kube.delete(CONFIG_MAP, "a", "default")  # gone already: a success
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, "a", "default")


async def test_a_second_creation_and_a_stale_write_are_conflicts(kube: Kube) -> None:
    old = await kube.create(CONFIG_MAP, config_map("a"))
    with pytest.raises(Conflict) as twice:
        await kube.create(CONFIG_MAP, config_map("a"))
    assert twice.value.reason == "AlreadyExists"
    await kube.merge_patch(CONFIG_MAP, "a", {"data": {"x": "2"}}, "default")
    with pytest.raises(Conflict):
        await kube.replace(CONFIG_MAP, old)
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAP, "a", "default", uid="another")


async def test_what_breaks_a_rule_names_the_field(kube: Kube) -> None:
    with pytest.raises(Invalid) as problem:
        await kube.create(CONFIG_MAP, config_map("Not A Name"))
    assert problem.value.causes[0].field == "metadata.name"
    await kube.create(CONFIG_MAP, config_map("b"))
    with pytest.raises(Invalid) as failed:
        await kube.json_patch(CONFIG_MAP, "b", [{"op": "test", "path": "/data/x", "value": "1"}], "default")
    assert failed.value.causes == ()  # a failed test has no causes: read again


async def test_a_list_is_read_in_chunks_to_its_end(kube: Kube) -> None:
    await asyncio.gather(*(kube.create(CONFIG_MAP, config_map(f"n{n}")) for n in range(7)))
    items, version = await kube.list(CONFIG_MAP, "default", label_selector="test", limit=2)
    assert sorted(obj["metadata"]["name"] for obj in items) == [f"n{n}" for n in range(7)]
    assert int(version) > 0


async def test_an_applied_field_of_another_manager_is_a_conflict_unless_forced(kube: Kube) -> None:
    await kube.apply(CONFIG_MAP, config_map("a", x="1"), manager="one")
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, config_map("a", x="2"), manager="two")
    forced = await kube.apply(CONFIG_MAP, config_map("a", x="2"), manager="two", force=True)
    assert forced["data"] == {"x": "2"}


async def test_who_may_not_is_forbidden_and_the_token_is_not_in_the_message(
    plane: ControlPlane, tmp_path: Path, kube: Kube
) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "nobody", "namespace": "default"},
    }
    await kube.create(SERVICE_ACCOUNT, account)
    token = await asyncio.to_thread(plane.service_account_token, "default", "nobody")
    config = plane.token_kubeconfig(tmp_path / "nobody", token)
    async with Kube.connect(user_agent="nobody", kubeconfig=str(config)) as weak:
        with pytest.raises(Forbidden) as refusal:
            await weak.list(NAMESPACE)
    assert "nobody" in str(refusal.value)
    assert token not in str(refusal.value)


async def test_a_server_that_is_not_there_may_be_tried_again(tmp_path: Path, plane: ControlPlane) -> None:
    text = plane.kubeconfig.read_text().replace(plane.server, "https://127.0.0.1:1")
    config = tmp_path / "wrong"
    config.write_text(text)
    async with Kube.connect(user_agent="x", kubeconfig=str(config), timeout_s=2) as lost:
        with pytest.raises(Unavailable):
            await lost.list(NAMESPACE)


async def test_a_watch_tells_what_changed_since_a_version(kube: Kube) -> None:
    _, version = await kube.list(CONFIG_MAP, "default", label_selector="test")
    await kube.create(CONFIG_MAP, config_map("a"))
    async with asyncio.timeout(10):
        async for kind, obj in kube.watch(
            CONFIG_MAP, "default", resource_version=version, label_selector="test"
        ):
            assert (kind, obj["metadata"]["name"]) == ("ADDED", "a")
            break
