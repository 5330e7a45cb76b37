"""The CRD files: generated, structural, bounded, described; and what kubectl shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects.crd import definition_object, file_name, main, render
from ingle_kit.objects.kinds import DEFINITIONS, Definition

CRDS = Path(__file__).parents[3] / "crds"
Schema = dict[str, Any]


def each() -> list[Any]:
    return [pytest.param(definition, id=definition.kind.kind) for definition in DEFINITIONS]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def schema_of(definition: Definition) -> Schema:
    version = definition_object(definition)["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    return {"properties": {"spec": properties["spec"], "status": properties["status"]}}


@pytest.mark.parametrize("definition", each())
def test_the_file_is_what_the_generator_makes(definition: Definition) -> None:
    path = CRDS / file_name(definition)
    assert path.read_text() == render(definition), "run python -m ingle_kit.objects.crd"
    assert yaml.safe_load(path.read_text()) == definition_object(definition)


def test_check_passes_on_the_files_as_they_are_and_no_other_file_is_there() -> None:
    assert main(["--check"]) == 0
    assert {path.name for path in CRDS.iterdir()} == {file_name(definition) for definition in DEFINITIONS}


@pytest.mark.parametrize("definition", each())
def test_every_field_is_described_and_an_optional_one_says_what_absence_means(definition: Definition) -> None:
    for path, schema in nodes(schema_of(definition)):
        for name, child in schema.get("properties", {}).items():
            text = child.get("description", "")
            assert text.endswith("."), f"{path}.{name} has no description"
            optional = name not in schema.get("required", ()) and path.startswith(".spec")
            if optional and not text.startswith("Refused"):
                assert "Absent" in text, f"{path}.{name} does not say what absence means"


@pytest.mark.parametrize("definition", each())
def test_everything_is_bounded_and_nothing_is_defaulted_or_titled(definition: Definition) -> None:
    for path, schema in nodes(schema_of(definition)):
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
            assert "x-kubernetes-list-type" in schema, path
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, path
        if schema.get("type") == "object" and "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        assert not {"title", "$ref", "anyOf", "allOf", "const"} & schema.keys(), path
        if path == ".status":  # for kstatus: an object that nobody has seen is under way
            assert schema.get("default", {"observedGeneration": -1}) == {"observedGeneration": -1}
        else:
            assert "default" not in schema, path
        assert schema.get("type") != "number", f"{path} is a float"


@pytest.mark.parametrize("definition", each())
def test_short_names_categories_columns_and_status_are_there(definition: Definition) -> None:
    spec = definition_object(definition)["spec"]
    assert spec["names"]["categories"] == ["all", "ingle"]
    assert spec["names"]["shortNames"] == [definition.short_name]
    version = spec["versions"][0]
    assert version["subresources"]["status"] == {}
    assert version["additionalPrinterColumns"][-1]["name"] == "Age"


def test_a_pool_is_scaled_by_the_scale_subresource(server: Any) -> None:
    kube = server.kube
    variant = {
        "name": "v",
        "gpus": 1,
        "memoryMiB": {"awake": 2, "asleep": 1, "host": 0},
        "watts": {"busy": 1, "idle": 1},
    }
    spec = {
        "model": "m",
        "engine": {"kind": "VLLM", "image": "i"},
        "variants": [variant],
        "replicas": {"max": 3},
    }
    body = {"apiVersion": "ingle.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": "scaled"}}
    server.run(kube.create(INFERENCE_POOL, body | {"spec": spec}, "default"))
    status = {"status": {"replicas": {"awake": 1}, "selector": "ingle.dev/pool=scaled"}}
    server.run(kube.merge_patch(INFERENCE_POOL, "scaled", status, "default", "status"))
    server.run(kube.merge_patch(INFERENCE_POOL, "scaled", {"spec": {"replicas": 2}}, "default", "scale"))
    scale = server.run(kube.get(INFERENCE_POOL, "scaled", "default", "scale"))
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "ingle.dev/pool=scaled"}
    assert server.run(kube.get(INFERENCE_POOL, "scaled", "default"))["spec"]["replicas"] == {
        "fixed": 2,
        "max": 3,
    }
