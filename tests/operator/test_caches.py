"""Weights and compile caches on nodes' disks: what an engine's pod gets of them, who copies, and what a miss says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from prometheus_client import generate_latest

from ingle_core.warmpool.cachekey import folder_of, weights_name
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_operator.metrics import OperatorMetrics
from ingle_operator.parse import pool_of
from ingle_operator.reconcile.misses import disks_of
from ingle_operator.render import engine_pod
from ingle_operator.settings import OperatorSettings

HERE = {"cache_host_path": "/var/lib/ingle/cache", "cache_image": "ours:1"}
WEIGHTS = {"claimName": "models", "path": "llama/8b", "sizeMiB": 100}
NAME = weights_name("default", "model-p", "models", "llama/8b")


def rendered(bodies: Any, engine: dict[str, Any] | None = None, **settings: Any) -> Object:
    body = bodies.pool(engine={"kind": "VLLM", "image": "i", "weights": WEIGHTS} | (engine or {}))
    body["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    pool, chosen = pool_of(body), OperatorSettings(**settings)
    assert pool.spec is not None
    how = (chosen.attachment, chosen.launcher, chosen.cache)
    return engine_pod(pool, pool.spec, pool.spec.variants[0], "p-0", *how)


def ask_of(pod: Object) -> Any:
    return orjson.loads(pod["metadata"]["annotations"][names.ANNOTATION_PLACEMENT])


def mounts_of(container: Object) -> dict[str, Any]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def test_off_by_default_and_placement_is_told_both_names_all_the_same(bodies: Any) -> None:
    pod = rendered(bodies)
    assert all("hostPath" not in volume for volume in pod["spec"]["volumes"])
    assert ask_of(pod)["weights"] == NAME
    assert len(ask_of(pod)["compileKey"]) == 16


def test_an_engine_has_a_compile_cache_of_its_own_key_that_the_binding_completes(bodies: Any) -> None:
    pod = rendered(bodies, **HERE)
    (engine,) = pod["spec"]["containers"]
    mount = mounts_of(engine)["/ingle/compile"]
    assert mount["subPathExpr"] == f"{ask_of(pod)['compileKey']}_$(INGLE_HARDWARE)"
    env = {e["name"]: e.get("value", e.get("valueFrom")) for e in engine["env"]}
    assert env["VLLM_CACHE_ROOT"] == "/ingle/compile"
    assert env["INGLE_HARDWARE"] == {"fieldRef": {"fieldPath": "metadata.annotations['ingle.dev/hardware']"}}
    volume = next(v for v in pod["spec"]["volumes"] if v["name"] == mount["name"])
    assert volume["hostPath"]["path"] == "/var/lib/ingle/cache/compile"


def test_the_copy_stands_in_the_claims_place_read_only_and_no_other_copy_is_seen(bodies: Any) -> None:
    pod = rendered(bodies, **HERE)
    (engine,), (linker,) = pod["spec"]["containers"], pod["spec"]["initContainers"]
    assert mounts_of(engine)["/ingle/copy"]["subPath"] == folder_of(NAME)
    assert mounts_of(engine)["/ingle/copy"]["readOnly"]
    assert mounts_of(engine)["/weights"]["name"] == mounts_of(linker)["/weights"]["name"]
    assert linker["command"] == [
        *("ingle-fetch", "link", "--claim", "/ingle/claim", "--path", "llama/8b"),
        *("--copy", "/ingle/copy", "--at", "/weights"),
    ]


def test_without_an_image_of_ours_weights_stay_the_claims(bodies: Any) -> None:
    pod = rendered(bodies, cache_host_path="/cache")
    assert "initContainers" not in pod["spec"]
    assert mounts_of(pod["spec"]["containers"][0])["/weights"]["name"] == "weights"


def test_the_launcher_and_the_linker_both_run_before_the_engine(bodies: Any) -> None:
    pod = rendered(bodies, launcher_image="ours:1", **HERE)
    assert [c["name"] for c in pod["spec"]["initContainers"]] == ["launcher", "weights"]


def test_another_cache_root_of_the_pools_own_is_left_alone(bodies: Any) -> None:
    body = bodies.pool(template={"env": [{"name": "VLLM_CACHE_ROOT", "value": "/mine"}]})
    body["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    pool, cache = pool_of(body), OperatorSettings(**HERE).cache
    assert pool.spec is not None
    pod = engine_pod(pool, pool.spec, pool.spec.variants[0], "p-0", cache=cache)
    assert "/ingle/compile" not in mounts_of({"volumeMounts": [], **pod["spec"]["containers"][0]})


@pytest.mark.parametrize("path", ["relative", "/a b", "/a/../b:"])
def test_a_folder_that_is_no_plain_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cache_host_path"):
        OperatorSettings(cache_host_path=path)


async def test_the_api_server_takes_such_a_pod_from_the_operator(
    bodies: Any, kube: Kube, account: Any
) -> None:
    pod = rendered(bodies, launcher_image="ours:1", **HERE)
    del pod["metadata"]["ownerReferences"]

    async def accounts() -> list[Object]:
        return (await kube.list(names.SERVICE_ACCOUNT, "default"))[0]

    await bodies.until(accounts, "a new control plane has made the namespace's account")
    async with Kube.connect(user_agent="test", kubeconfig=account("operator")) as ours:
        await ours.create(names.POD, pod, dry_run=True)


HOPPER = "H100_580"


async def told(site: Any, node: str, **status: Any) -> None:
    """What the node's agent says of its disk."""
    patch = {"status": {"driverVersion": "580"} | status}
    await site.kube.merge_patch(names.GPU_NODE, node, patch, subresource="status")


async def with_node(site: Any, node: str) -> None:
    """A node whose GPUNode is there and told."""
    await site.node(node)

    async def there() -> bool:
        found = (await site.kube.list(names.GPU_NODE))[0]
        return any(n["metadata"]["name"] == node and n.get("status", {}).get("gpus") for n in found)

    await site.until(there, f"GPUNode {node} is told")


async def test_an_engine_that_starts_where_its_weights_and_cache_are_not_is_counted_and_told(
    site: Any, operators: Any, bodies: Any
) -> None:
    engine = {"kind": "VLLM", "image": "i", "startSeconds": 60, "weights": WEIGHTS}
    base = ask_of(rendered(bodies, {"startSeconds": 60}))["compileKey"]
    async with operators.running(**HERE) as world:
        for node in ("a", "b"):
            await with_node(site, node)
        site.closed.add("b")
        await told(site, "b", warm=[{"kind": "Weights", "model": NAME, "mib": 1}])
        await told(site, "a", warm=[{"kind": "CompileCache", "key": f"{base}_H100_570", "mib": 1}])

        def known() -> bool:
            disks = disks_of(world)
            return bool(disks["a"].compiled and disks["b"].whole)

        await site.until(known, "the operator knows both disks")
        await site.kube.create(
            names.INFERENCE_POOL, bodies.pool(engine=engine, replicas={"min": 1, "max": 1})
        )
        misses = world.notes.cache_misses
        await site.until(
            lambda: misses == {("weights", "OnOtherNode"): 1, ("compile", "OtherHardware"): 1}, "misses"
        )

        async def events() -> list[str]:
            found = (await site.kube.list(names.EVENT, "default"))[0]
            return [e["message"] for e in found if e["reason"] == "CacheMiss"]

        async def both() -> bool:
            return len(await events()) == 2

        await site.until(both, "two events")
        texts = sorted(await events())
        assert any(f"node a has no weights {NAME}, b would have had them" in text for text in texts)
        assert any(
            f"node a has compile cache {base} for H100_570, wanted {HOPPER} on a" in text for text in texts
        )
        shown = generate_latest(OperatorMetrics(world).registry).decode()
        assert 'ingle_weights_misses_total{reason="OnOtherNode"} 1.0' in shown
        assert 'ingle_compile_cache_misses_total{reason="OtherHardware"} 1.0' in shown
