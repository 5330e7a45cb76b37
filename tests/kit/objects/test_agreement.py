"""Models and CRDs agree: what one accepts the other accepts, and the files are what the generator makes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingle_kit.kube import KubeError
from ingle_kit.names import GPU_NODE, INFERENCE_POOL, POWER_BUDGET, ROUTING_POLICY, Kind
from ingle_kit.objects import ApiModel, dump
from ingle_kit.objects.crd import structural
from ingle_kit.objects.kinds import DEFINITIONS, Definition

SERVER_TESTS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)
Schema = dict[str, Any]


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a structural schema allows; CEL rules may still refuse them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "integer":
        return st.integers(schema.get("minimum", 0), min(schema.get("maximum", 2**53 - 1), 10**6))
    if schema["type"] == "string":
        return strings(schema)
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=2)
    if "properties" in schema:
        required = set(schema.get("required", ()))
        fields = {name: values(child) for name, child in schema["properties"].items()}
        must = {name: field for name, field in fields.items() if name in required}
        may = {name: field for name, field in fields.items() if name not in required}
        return st.fixed_dictionaries(must, optional=may)
    keys = st.sampled_from(["team", "example.com/a", "ingle.dev/pool"])
    return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=2)


def strings(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"])
    longest = schema.get("maxLength", 8)
    if "pattern" in schema:
        words = st.sampled_from(["a", "b-1", "llama", "/v", "INGLE_A", "A", "shm"])
        made = words | st.from_regex(schema["pattern"], fullmatch=True)
        return made.filter(
            lambda text: text.isascii() and text.isprintable() and len(text) <= longest
        ).filter(lambda text: len(text) >= schema.get("minLength", 0))
    letters = st.text("ab/. *5", min_size=schema.get("minLength", 0), max_size=min(longest, 12))
    return letters


def cases() -> list[Any]:
    return [pytest.param(definition, id=definition.kind.kind) for definition in DEFINITIONS]


def accepts(model: type[ApiModel], value: Any) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


def only_read_later(model: type[ApiModel], value: Any) -> bool:
    """Whether nothing is wrong but a cron or a zone that looks right: no API server can tell, the object's condition does."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return all(
            fault["type"] == "value_error" and fault["loc"][-1] in ("cron", "zone")
            for fault in error.errors()
        )
    return False


@pytest.mark.parametrize("definition", cases())
def test_a_spec_is_accepted_by_both_or_by_neither(server: Any, definition: Definition) -> None:
    @SERVER_TESTS
    @given(values(structural(definition.spec)))
    def agree(spec: Any) -> None:
        refused = server.refusal(definition.kind, spec)
        ours = accepts(definition.spec, spec)
        if definition.kind == GPU_NODE and refused is not None and ours:
            assume("exceed" not in refused.message)  # the ledger's rules are the server's alone
        if refused is None:
            assume(not only_read_later(definition.spec, spec))
        assert ours == (refused is None), refused
        if ours:
            again = dump(definition.spec.model_validate(spec))
            assert server.refusal(definition.kind, again) is None

    agree()


@pytest.mark.parametrize("definition", cases())
def test_a_broken_spec_is_refused_by_both(server: Any, definition: Definition) -> None:
    good = copy.deepcopy(EXAMPLES[definition.kind])
    paths = list(leaves(good, structural(definition.spec)))

    @SERVER_TESTS
    @given(st.sampled_from(paths), st.data())
    def agree(path: tuple[Any, ...], data: st.DataObject) -> None:
        spec = copy.deepcopy(good)
        node: Any = spec
        for part in path[:-1]:
            node = node[part]
        old = node[path[-1]]
        wrong = (
            [-1, 2**53]
            if isinstance(old, int)
            else ["", "x" * 5000, "ä ö"]
            if isinstance(old, str)
            else [7, "x"]
        )
        if isinstance(old, list) and old:
            wrong = [old * 600, [*old, old[0]]]
        node[path[-1]] = data.draw(st.sampled_from(wrong))
        refused = server.refusal(definition.kind, spec)
        assert accepts(definition.spec, spec) == (refused is None), (path, refused)

    agree()


@pytest.mark.parametrize("definition", cases())
def test_a_status_that_the_model_makes_is_accepted(server: Any, definition: Definition) -> None:
    kind: Kind = definition.kind
    where = "default" if kind.namespaced else None
    made = server.run(
        server.kube.create(
            kind,
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": "status-of"},
                "spec": EXAMPLES[kind],
            },
            where,
        )
    )

    @SERVER_TESTS
    @given(values(structural(definition.status)))
    def fits(status: Any) -> None:
        assume(accepts(definition.status, status))
        body = made | {"status": dump(definition.status.model_validate(status))}
        path = kind.path(where, "status-of", "status")
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        try:
            server.run(server.kube.request("PUT", path, body=body, query=query))
        except KubeError as error:
            raise AssertionError(f"{error}: {status}") from error

    fits()


def leaves(value: Any, schema: Schema) -> Any:
    """Paths to everything in a value that the schema describes."""
    for name, child in value.items():
        inner = schema.get("properties", {}).get(name)
        if inner is None:
            continue
        yield (name,)
        if isinstance(child, dict):
            yield from ((name, *rest) for rest in leaves(child, inner))
        elif isinstance(child, list) and child and isinstance(child[0], dict):
            yield from ((name, 0, *rest) for rest in leaves(child[0], inner["items"]))


EXAMPLES: dict[Kind, Any] = {
    INFERENCE_POOL: {
        "model": "m",
        "aliases": ["a"],
        "engine": {
            "kind": "VLLM",
            "image": "i",
            "port": 1,
            "weights": {"claimName": "c", "path": "p", "sizeMiB": 1},
        },
        "variants": [
            {
                "name": "v",
                "gpus": 1,
                "memoryMiB": {"awake": 3, "asleep": 1, "host": 1, "kvCache": 1},
                "watts": {"busy": 2, "idle": 1},
                "gpuProducts": ["H100"],
            }
        ],
        "replicas": {"min": 0, "max": 2, "fixed": 1},
        "scaling": {"concurrency": 4},
        "warm": {
            "asleep": 1,
            "idleSeconds": 5,
        },
        "template": {
            "env": [{"name": "A", "value": "1"}],
            "tolerations": [{"key": "a", "operator": "Exists"}],
        },
        "hold": {"seconds": 1, "heartbeatSeconds": 1, "waiting": 1},
    },
    ROUTING_POLICY: {
        "models": ["m"],
        "permissions": [{"name": "p", "allow": "true"}],
        "fallback": {"pool": "other"},
    },
    POWER_BUDGET: {"watts": 5, "hostWatts": 1, "mode": "Guaranteed"},
    GPU_NODE: {
        "revision": 1,
        "wattsAllotted": 2**20,
        "gpus": [
            {
                "uuid": "g",
                "allocatableMiB": 2**24,
                "floorWatts": 1,
                "claims": [{"podUID": "u", "memoryMiB": 1, "watts": 1}],
            }
        ],
        "zones": [{"zone": 0, "allocatableMiB": 2**24, "claims": [{"podUID": "u", "memoryMiB": 1}]}],
        "pods": [{"uid": "u", "pool": "a/b", "state": "Awake", "epoch": 1, "at": "2026-01-01T00:00:00Z"}],
    },
}
