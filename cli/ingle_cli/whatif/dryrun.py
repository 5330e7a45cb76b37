"""Would the API server take the pool? Asked with a dry run: schema, rules, defaults and admission, nothing stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from ingle_cli.access import CallersKube
from ingle_cli.failures import EXIT_UNKNOWN, Failure, is_missing_right
from ingle_cli.objects import Object
from ingle_kit.kube import Conflict, Forbidden, Invalid, KubeError
from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects import InferencePoolSpec, faults

_DRY: Final = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "ingle-whatif"}


@dataclass(frozen=True, slots=True)
class Tried:
    """The pool as it would be stored. `exists`: it would be a change. `missing`: the right that the dry run lacked."""

    namespace: str
    name: str
    spec: InferencePoolSpec
    exists: bool = False
    missing: Forbidden | None = None


async def dry_run(kube: CallersKube, pool: Object) -> Tried:
    """Raises Failure, each wrong field with its path, where the pool would be refused.

    Without the right to write pools the rules that this command knows are checked instead.
    """
    metadata = dict(pool["metadata"])
    namespace, name = metadata.setdefault("namespace", kube.namespace), metadata["name"]
    obj = {**pool, "metadata": metadata}
    try:
        try:
            path = INFERENCE_POOL.path(namespace)
            found = await kube.request("POST", path, body=obj, query=_DRY)
            return Tried(namespace, name, _spec(found))
        except Conflict:
            return Tried(namespace, name, _spec(await _changed(kube, obj)), exists=True)
    except Forbidden as error:
        if not is_missing_right(error):
            raise _refused(error, namespace, name) from error
        return Tried(namespace, name, _spec(pool), missing=error)
    except KubeError as error:
        if error.status in (400, 422) or (
            error.status == 404 and error.reason == "NotFound" and "namespaces" in error.message
        ):
            raise _refused(error, namespace, name) from error
        raise


async def _changed(kube: CallersKube, obj: Object) -> Object:
    """The answer to replacing the spec of the pool that is there already."""
    metadata = obj["metadata"]
    path = INFERENCE_POOL.path(metadata["namespace"], metadata["name"])
    now = await kube.get(INFERENCE_POOL, metadata["name"], metadata["namespace"])
    changed = {**now, "spec": obj.get("spec")}
    changed["metadata"] = {**now["metadata"], "labels": metadata.get("labels"), "managedFields": None}
    return await kube.request("PUT", path, body=changed, query=_DRY)


def _refused(error: KubeError, namespace: str, name: str) -> Failure:
    causes = [f"{cause.field}: {cause.message}".strip(": ") for cause in error.causes]
    said = isinstance(error, Invalid) and causes and all(cause.field for cause in error.causes)
    why = "; ".join(causes) if said else error.message
    return Failure(f"The API server would refuse InferencePool {namespace}/{name}: {why}", EXIT_UNKNOWN)


def _spec(obj: Object) -> InferencePoolSpec:
    try:
        return InferencePoolSpec.model_validate(obj.get("spec") or {})
    except ValidationError as problem:
        wrong = "; ".join(faults(problem))
        raise Failure(
            f"InferencePool {obj['metadata']['name']} breaks a rule: {wrong}", EXIT_UNKNOWN
        ) from problem
