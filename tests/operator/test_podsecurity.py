"""Engines where Pod Security is enforced: what their pods ask for, and what a pool says when that is too much."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.caches import NodeCache
from ingle_operator.launcher import Launcher
from ingle_operator.parse import pool_of
from ingle_operator.podsecurity import advice
from ingle_operator.render import engine_pod, revision_of

SPACE = "strict"
NAMESPACE = names.Kind("", "v1", "namespaces", "Namespace", False)
LABELS = {"pod-security.kubernetes.io/enforce": "restricted"}
LAUNCHER = Launcher("ours", ("vllm", "serve"))
USER = {"template": {"securityContext": {"runAsUser": 1000}}}


def strict(body: Object) -> Object:
    return body | {"metadata": body["metadata"] | {"namespace": SPACE}}


def pod_of(body: Object, **how: Any) -> Any:
    pool = pool_of(body | {"metadata": body["metadata"] | {"uid": "u", "generation": 1}})
    assert pool.spec is not None
    return engine_pod(pool, pool.spec, pool.spec.variants[0], f"{body['metadata']['name']}-0", **how)


@pytest.mark.parametrize(
    ("wanted", "security"),
    [
        (None, {}),
        ({"fsGroup": 7}, {"fsGroup": 7}),
        ({"runAsUser": 1000}, {"runAsUser": 1000, "runAsNonRoot": True}),
        ({"runAsUser": 1000, "runAsNonRoot": False}, {"runAsUser": 1000, "runAsNonRoot": False}),
        ({"runAsNonRoot": True}, {"runAsNonRoot": True}),
    ],
)
def test_an_engine_keeps_all_of_restricted_but_its_user_which_the_pool_names(
    bodies: Any, wanted: Object | None, security: Object
) -> None:
    template = {"securityContext": wanted} if wanted else {}
    spec = pod_of(bodies.pool(template=template), launcher=LAUNCHER)["spec"]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}} | security
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_pool_can_do_without_what_is_on_nodes(bodies: Any) -> None:
    engine = bodies.pool()["spec"]["engine"] | {"weights": {"claimName": "c", "path": "p", "sizeMiB": 1}}
    cache = NodeCache("/var/lib/ingle/cache", "ours")
    kinds = [
        sorted(
            key for volume in pod_of(body, cache=cache)["spec"]["volumes"] for key in volume if key != "name"
        )
        for body in (
            bodies.pool(engine=engine),
            bodies.pool(engine=engine | {"nodeCache": False}),
        )
    ]
    assert kinds == [["emptyDir", "hostPath", "hostPath", "persistentVolumeClaim"], ["persistentVolumeClaim"]]


def test_what_is_not_said_makes_no_new_revision(bodies: Any) -> None:
    """Else an upgrade of the operator would replace every engine."""
    spec = InferencePoolSpec.model_validate(bodies.pool(**USER)["spec"])
    assert "nodeCache" not in str(spec.engine.model_dump(by_alias=True, exclude_none=True))
    other = spec.model_copy(update={"template": spec.template.model_copy(update={"security_context": None})})
    assert revision_of(spec, spec.variants[0]) != revision_of(other, other.variants[0])


@pytest.mark.parametrize(
    ("why", "says"),
    [
        (
            'runAsNonRoot != true (pod or container "engine" must set securityContext.runAsNonRoot=true)',
            "spec.template.securityContext.runAsUser",
        ),
        (
            'restricted volume types (volume "ingle-compile" uses restricted volume type "hostPath")',
            "spec.engine.nodeCache: false",
        ),
        ("hostPort (container uses hostPort 1)", "the namespace must allow more"),
    ],
)
def test_advice_names_the_field_to_change(why: str, says: str) -> None:
    said = f'pods "p-0" is forbidden: violates PodSecurity "restricted:latest": {why}'
    assert advice(said).startswith("Pod Security restricted of the namespace refuses engines: ")
    assert says in advice(said)
    assert advice('pods "p-0" is forbidden: exceeded quota: q, requested: runAsNonRoot=1') == ""


async def test_in_a_restricted_namespace_engines_start_and_a_pool_without_a_user_says_which_field_to_set(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": LABELS}}
    await kube.create(NAMESPACE, space)
    await site.node("n1")
    pools = {
        "right": bodies.pool("right", **USER),
        "wrong": bodies.pool("wrong"),
        "folders": bodies.pool("folders", **USER),
    }
    pools["right"]["spec"]["engine"] |= {"nodeCache": False}
    settings = {"launcher_image": "ours", "cache_host_path": "/var/lib/ingle/cache"}
    async with operators.running(**settings):
        for body in pools.values():
            await kube.create(names.INFERENCE_POOL, strict(body))

        async def started() -> bool:
            pods = (await kube.list(names.POD, SPACE))[0]
            return [pod["metadata"]["labels"][names.LABEL_POOL] for pod in pods] == ["right"]

        async def told(name: str) -> str:
            pool = await kube.get(names.INFERENCE_POOL, name, SPACE)
            condition = bodies.condition(pool, "Ready")
            return str(condition["message"]) if condition.get("reason") == "PodSecurity" else ""

        await site.until(started, "an engine of the pool with a user")
        wrong = await site.until(lambda: told("wrong"), "the pool without a user says why")
        assert "spec.template.securityContext.runAsUser" in wrong
        assert "spec.engine.nodeCache" in wrong
        folders = await site.until(lambda: told("folders"), "the pool with folders of nodes says why")
        assert "runAsUser" not in folders.partition(". The API server says")[0]
    for name in pools:
        await kube.delete(names.INFERENCE_POOL, name, SPACE)
