"""Makes the CustomResourceDefinitions in crds/ from the models.

`python -m ingle_kit.objects.crd` writes them, `--check` fails where a file differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ingle_kit.objects.base import ApiModel, Rule
from ingle_kit.objects.kinds import DEFINITIONS, Column, Definition

Schema = dict[str, Any]

# What a structural schema of Kubernetes does not know, or what is noise in `kubectl explain` and drift in GitOps.
_DROPPED = frozenset({"title", "default", "$defs", "discriminator"})
_REQUIRED_MARK = "x-ingle-required"


def structural(model: type[ApiModel]) -> Schema:
    """The structural schema of a model: inlined, without titles and defaults, with its CEL rules."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Schema, defs: dict[str, Schema]) -> Schema:
    node = dict(node)
    if "$ref" in node:
        target = node.pop("$ref").rsplit("/", 1)[1]
        return {**_convert({"title": target, **defs[target]}, defs), **_convert(node, defs)}
    if "anyOf" in node:
        options = [option for option in node.pop("anyOf") if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a union of {len(options)} types has no structural schema: {options}")
        return {**_convert(options[0], defs), **_convert(node, defs)}
    rules = _rules(node) if node.get("type") == "object" and "properties" in node else []
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in out:
        out["enum"] = [out.pop("const")]
    for edge, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if edge in out:
            out[plain], out[edge] = out[edge], True
    if "items" in out:
        out["items"] = _convert(out["items"], defs)
    if "properties" in out:
        _convert_properties(out, defs)
    elif isinstance(out.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(out["additionalProperties"], defs)
    if rules:
        out["x-kubernetes-validations"] = rules
    return out


def _convert_properties(out: Schema, defs: dict[str, Schema]) -> None:
    properties = {name: _convert(child, defs) for name, child in out["properties"].items()}
    required = set(out.pop("required", ()))
    required |= {name for name, child in properties.items() if child.pop(_REQUIRED_MARK, False)}
    out["properties"] = properties
    if required:
        out["required"] = [name for name in properties if name in required]
    out.pop("additionalProperties", None)


def _rules(node: Schema) -> list[Schema]:
    return [_validation(rule) for rule in _models()[node["title"]].rules]


def _validation(rule: Rule) -> Schema:
    out: Schema = {"rule": rule.cel, "message": rule.message}
    if rule.field_path:
        out["fieldPath"] = rule.field_path
    if rule.optional_old_self:
        out["optionalOldSelf"] = True
    return out


def _models() -> dict[str, type[ApiModel]]:
    def below(model: type[ApiModel]) -> Iterator[type[ApiModel]]:
        yield model
        for child in model.__subclasses__():
            yield from below(child)

    return {model.__name__: model for model in below(ApiModel)}


def definition_object(definition: Definition) -> Schema:
    """The CustomResourceDefinition of a kind."""
    kind = definition.kind
    version: Schema = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root_schema(definition)},
        "subresources": {"status": {}} | ({"scale": definition.scale} if definition.scale else {}),
        "additionalPrinterColumns": [_column(column) for column in definition.columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["all", "ingle"],
            },
            "versions": [version],
        },
    }


def _root_schema(definition: Definition) -> Schema:
    schema: Schema = {
        "type": "object",
        "description": definition.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{definition.kind.api_version}."},
            "kind": {"type": "string", "description": f"{definition.kind.kind}."},
            "metadata": {"type": "object"},
            "spec": structural(definition.spec),
            "status": _status_schema(definition.status),
        },
    }
    if definition.rules:
        schema["x-kubernetes-validations"] = [_validation(rule) for rule in definition.rules]
    return schema


def _status_schema(model: type[ApiModel]) -> Schema:
    """With the one default that there is: a status from the first moment, or kstatus takes an object that nobody
    has seen for one that is well."""
    schema = structural(model)
    if "observedGeneration" in schema["properties"]:
        schema["default"] = {"observedGeneration": -1}
    return schema


def _column(column: Column) -> Schema:
    out: Schema = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return out | ({"priority": column.priority} if column.priority else {})


class _Plain(yaml.SafeDumper):
    """YAML without anchors, lists indented as people write them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(definition: Definition) -> str:
    """The file of a kind as YAML."""
    text: str = yaml.dump(definition_object(definition), Dumper=_Plain, sort_keys=False, width=110)
    return "# Generated by `python -m ingle_kit.objects.crd`; do not edit.\n" + text


def file_name(definition: Definition) -> str:
    """Name of its file in crds/."""
    return f"{definition.kind.group}_{definition.kind.plural}.yaml"


def main(arguments: list[str]) -> int:
    """Write crds/, or with `--check` return 1 where a file differs."""
    folder = Path(__file__).parents[3] / "crds"
    folder.mkdir(exist_ok=True)
    wrong = 0
    for definition in DEFINITIONS:
        path = folder / file_name(definition)
        if "--check" not in arguments:
            path.write_text(render(definition))
        elif not path.is_file() or path.read_text() != render(definition):
            print(f"{path} differs: run python -m ingle_kit.objects.crd", file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
