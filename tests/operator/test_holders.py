"""Holder pods: one a managed node, through the default scheduler, gone when they are not wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_operator.holders import Holder, HolderPlan, plan_holders, wanted_gpus


def holder(gpus: int, number: int = 0, *, ended: bool = False, deleting: bool = False) -> Holder:
    return Holder(("ingle-system", f"h-{number}"), f"u{number}", "n1", gpus, ended, deleting, "")


@pytest.mark.parametrize(
    ("label", "allocatable", "gpus"), [(None, 8, 0), ("true", 8, 8), ("true", 0, 0), ("3", 8, 3), ("3", 0, 0)]
)
def test_the_label_says_how_many_gpus_are_held(label: str | None, allocatable: int, gpus: int) -> None:
    assert wanted_gpus(label, allocatable) == gpus


@pytest.mark.parametrize("label", ["", "yes", "0", "-1", "1.5"])
def test_any_other_label_is_named(label: str) -> None:
    with pytest.raises(ValueError, match=r"ingle\.dev/managed"):
        wanted_gpus(label, 8)


BIG, SMALL = holder(4), holder(2, 1)


@pytest.mark.parametrize(
    ("label", "wanted", "takes_pods", "holders", "plan"),
    [
        ("true", 8, True, [], HolderPlan(create_gpus=8)),
        ("true", 8, False, [], HolderPlan()),
        ("true", 8, True, [holder(8)], HolderPlan()),
        ("true", 8, True, [BIG], HolderPlan(create_gpus=4)),
        ("true", 7, True, [holder(8)], HolderPlan()),
        ("4", 4, True, [BIG, SMALL], HolderPlan(delete=(SMALL,))),
        ("3", 3, True, [BIG, SMALL], HolderPlan(delete=(SMALL, BIG))),
        ("4", 4, True, [BIG, holder(2, 1, deleting=True)], HolderPlan()),
        (None, 0, True, [BIG, SMALL], HolderPlan(delete=(SMALL, BIG))),
        (None, 0, False, [BIG], HolderPlan(delete=(BIG,))),
        ("true", 4, True, [holder(4, ended=True)], HolderPlan(delete=(holder(4, ended=True),))),
        ("true", 4, True, [holder(4, deleting=True)], HolderPlan()),
    ],
    ids=[
        "none yet", "cordoned", "enough", "more GPUs came", "a GPU fell ill", "label lowered",
        "label lowered below one pod", "on its way out", "label removed", "removed while cordoned",
        "ended", "being deleted",
    ],
)  # fmt: skip
def test_what_is_held_changes_only_as_the_label_says(
    label: str | None, wanted: int, takes_pods: bool, holders: list[Holder], plan: HolderPlan
) -> None:
    assert plan_holders(label, wanted, takes_pods, holders) == plan


async def holders(kube: Kube) -> list[Object]:
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_HOLDER}"
    return (await kube.list(names.POD, names.SYSTEM_NAMESPACE, label_selector=selector))[0]


async def offer(kube: Kube, node: str, gpus: int) -> None:
    amounts = {"capacity": {"nvidia.com/gpu": str(gpus)}, "allocatable": {"nvidia.com/gpu": str(gpus)}}
    await kube.merge_patch(names.NODE, node, {"status": amounts}, subresource="status")


async def mark(kube: Kube, node: str, label: str | None) -> None:
    await kube.merge_patch(names.NODE, node, {"metadata": {"labels": {names.LABEL_MANAGED: label}}})


async def test_a_managed_node_is_held_whole_and_let_go_when_the_label_goes(
    kube: Kube, site: Any, operators: Any
) -> None:
    await site.node("n1", agent=False, labels={names.LABEL_MANAGED: "true"})
    await site.node("n2", agent=False)
    await offer(kube, "n1", 8)
    await offer(kube, "n2", 8)
    async with operators.running():
        (pod,) = await site.until(lambda: holders(kube), "a holder")
        spec = pod["spec"]
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
        assert spec["schedulerName"] == "default-scheduler"
        terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        field = terms["nodeSelectorTerms"][0]["matchFields"][0]
        assert (field["key"], field["values"]) == ("metadata.name", ["n1"])
        assert spec["preemptionPolicy"] == "Never"
        owner = pod["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["controller"]) == (
            "ServiceAccount",
            "ingle-operator",
            True,
        )
        await mark(kube, "n1", None)

        async def gone() -> bool:
            return not await holders(kube)

        await site.until(gone, "the holder is gone")


async def test_a_drained_node_gets_its_holder_back_only_when_it_takes_pods_again(
    kube: Kube, site: Any, operators: Any
) -> None:
    await site.node("n1", agent=False, labels={names.LABEL_MANAGED: "2"})
    await offer(kube, "n1", 8)
    async with operators.running() as world:
        (first,) = await site.until(lambda: holders(kube), "a holder")
        await kube.merge_patch(names.NODE, "n1", {"spec": {"unschedulable": True}})
        await site.until(lambda: world.nodes.store[("", "n1")].cordoned, "the cordon is seen")
        name = first["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await kube.request("POST", names.POD.path(names.SYSTEM_NAMESPACE, name, "eviction"), body=eviction)
        await site.until(lambda: not world.holders.store, "it is gone")
        assert await holders(kube) == []
        await kube.merge_patch(names.NODE, "n1", {"spec": {"unschedulable": None}})
        (second,) = await site.until(lambda: holders(kube), "a holder again")
        assert second["metadata"]["uid"] != first["metadata"]["uid"]
        assert second["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"


async def test_a_node_without_gpus_to_hand_out_has_none_and_a_bad_label_is_told(
    kube: Kube, site: Any, operators: Any
) -> None:
    await site.node("n1", agent=False, labels={names.LABEL_MANAGED: "true"})
    await site.node("n2", agent=False, labels={names.LABEL_MANAGED: "some"})
    await offer(kube, "n2", 8)
    async with operators.running():

        async def told() -> list[Object]:
            events = (await kube.list(names.EVENT, "default"))[0]
            return [e for e in events if e["reason"] == "BadManagedLabel"]

        (event,) = await site.until(told, "the label is told")
        assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("Node", "n2")
        assert await holders(kube) == []


async def test_holders_go_with_an_uninstall(
    kube: Kube, site: Any, operators: Any, plane: Any, account: Callable[[str], str]
) -> None:
    await site.node("n1", agent=False, labels={names.LABEL_MANAGED: "true"})
    await offer(kube, "n1", 8)
    async with operators.running():
        await site.until(lambda: holders(kube), "a holder")
    await kube.delete(names.SERVICE_ACCOUNT, "ingle-operator", names.SYSTEM_NAMESPACE)
    try:

        async def gone() -> bool:
            return not await holders(kube)

        await site.until(gone, "the holder is gone without an operator")
    finally:
        metadata = {"name": "ingle-operator", "namespace": names.SYSTEM_NAMESPACE}
        await kube.create(
            names.SERVICE_ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        )
        token = plane.service_account_token(names.SYSTEM_NAMESPACE, "ingle-operator")
        plane.token_kubeconfig(Path(account("operator")), token)  # the old one was the old account's
