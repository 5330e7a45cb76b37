"""values.schema.json: the values, and in each `settings` what that process reads from its environment."""

from __future__ import annotations

import json
from typing import Any

from charts.generate.values import Values
from pydantic_settings import BaseSettings

from ingle_agent.settings import AgentSettings
from ingle_extender.settings import Settings as ExtenderSettings
from ingle_operator.settings import OperatorSettings
from ingle_router.settings import Settings as RouterSettings

Schema = dict[str, Any]

PROCESSES: dict[str, type[BaseSettings]] = {
    "operator": OperatorSettings,
    "scheduler": ExtenderSettings,
    "gateway": RouterSettings,
    "agent": AgentSettings,
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIXED: dict[str, frozenset[str]] = {
    "operator": _words(
        "namespace pod_name pod_uid listen port attach runtime_class launcher_image spare_image holder_image"
        " cache_host_path cache_image"
    ),
    "scheduler": _words(
        "kubeconfig listen extender_port namespace scheduler_kubeconfig scheduler_leader_elect"
    ),
    "gateway": _words(
        "kubeconfig pod_name pod_ip listen namespace gateway_listen envoy_admin drain_s conformance port_gateway"
        " port_gateway_internal port_picker port_picker_health port_http port_waiting_room"
    ),
    "agent": _words(
        "node_name namespace pod_ip listen agent_port kubeconfig journal cache_root numa_root proc_root pci_root"
        " pod_resources_socket setter_socket"
    ),
}
"""What the chart itself decides; the rest may be set."""

_KEPT = ("type", "description", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def settings_schema(process: str) -> Schema:
    """Settings of a process under the names that the environment has in capitals behind INGLE_."""
    own = PROCESSES[process].model_json_schema(by_alias=False)
    properties = {
        name: {key: field[key] for key in _KEPT if key in field}
        for name, field in own["properties"].items()
        if name not in FIXED[process]
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def settings_defaults(process: str) -> dict[str, Any]:
    """Defaults of the same settings."""
    return {
        name: field.default
        for name, field in PROCESSES[process].model_fields.items()
        if name not in FIXED[process]
    }


def values_schema() -> Schema:
    """The JSON Schema (2020-12) of values.yaml."""
    schema = _plain(Values.model_json_schema(by_alias=True))
    definitions = schema["$defs"]
    for optional in ("Amounts", "Toleration"):
        definitions[optional].pop("required")
    for process in PROCESSES:
        place = definitions[process.capitalize()]["properties"]
        place["settings"] = {"description": place["settings"]["description"], **settings_schema(process)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _plain(node: Any) -> Any:
    """Without titles and defaults, which stand in values.yaml. There is no null: by it Helm takes a default away, and
    a switch that is not there would be off."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _plain(value) for key, value in node.items() if key != "default"}
    if isinstance(out.get("title"), str):
        out.pop("title")
    if "properties" in out:
        out["required"] = list(out["properties"])
    if "patternProperties" in out:
        out["additionalProperties"] = False
    options = [option for option in out.pop("anyOf", ()) if option != {"type": "null"}]
    return {**options[0], **out} if options else out


def schema_text() -> str:
    return json.dumps(values_schema(), indent=1) + "\n"
