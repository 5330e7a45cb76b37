"""Envoy's bootstrap for this router: `ingle-router envoy-config`."""

from __future__ import annotations

from typing import Any, Final

import orjson

from ingle_router import wire
from ingle_router.settings import Settings

Part = dict[str, Any]

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.http"
_MANAGER: Final = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_EARLY: Final = (
    "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
)
_HTTP2: Final = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_MANY: Final = 65_536
_PICKER_ANSWER_S: Final = 15  # above the API server's time limit for a token review
_HEADERS_KIB_MAX: Final = 60
_OWNER_ONLY: Final = 0o600

CLIENT_STRIPPED: Final = ("x-ingle-", "x-gateway-destination-", "x-envoy-", "x-remote-", "impersonate-")
INTERNAL_STRIPPED: Final = ("x-gateway-destination-", "x-envoy-")
"""Prefixes of headers that a client must not set. The ticket of the waiting room passes the internal listener."""


def bootstrap(settings: Settings) -> Part:
    """The whole static configuration; nothing is discovered, so nothing can be missing at start."""
    admin = {"admin": {"address": {"pipe": {"path": settings.envoy_admin, "mode": _OWNER_ONLY}}}}
    return (admin if settings.envoy_admin else {}) | {
        "static_resources": {
            "listeners": [
                _listener(
                    settings, "clients", settings.gateway_listen, settings.port_gateway, CLIENT_STRIPPED
                ),
                _listener(
                    settings, "internal", settings.listen, settings.port_gateway_internal, INTERNAL_STRIPPED
                ),
            ],
            "clusters": [_engines(settings), _picker(settings)],
        }
    }


def _socket(address: str, port: int) -> Part:
    return {"socket_address": {"address": address, "port_value": port}}


def _listener(settings: Settings, name: str, address: str, port: int, stripped: tuple[str, ...]) -> Part:
    manager = {
        "@type": _MANAGER,
        "stat_prefix": name,
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": _HEADERS_KIB_MAX,
        "stream_idle_timeout": f"{settings.stream_idle_s}s",
        "request_headers_timeout": "10s",
        "early_header_mutation_extensions": [_strip(stripped)],
        "route_config": {"name": name, "virtual_hosts": [_routes(settings, name)]},
        "http_filters": [_picker_filter(), _router_filter()],
        "local_reply_config": {"mappers": _local_replies(settings)},
    }
    return {
        "name": name,
        "address": _socket(address, port),
        "per_connection_buffer_limit_bytes": settings.body_bytes_max,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _strip(prefixes: tuple[str, ...]) -> Part:
    mutations = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in prefixes]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _EARLY, "mutations": mutations},
    }


def _routes(settings: Settings, name: str) -> Part:
    engines = {
        "cluster": "engines",
        "timeout": "0s",
        "idle_timeout": f"{settings.stream_idle_s}s",
    }
    message = "Only /v1/ is served here."
    not_found = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": _error_text(404, "not_found", message)}},
        "response_headers_to_add": [_header("content-type", "application/json")],
        "typed_per_filter_config": {
            "envoy.filters.http.ext_proc": {"@type": f"{_HTTP}.ext_proc.v3.ExtProcPerRoute", "disabled": True}
        },
    }
    served = {
        "match": {"prefix": "/v1/"},
        "route": engines,
        # The picker removes them too; here it does not depend on the picker's answer.
        "request_headers_to_remove": list(wire.SECRET_HEADERS),
    }
    return {"name": name, "domains": ["*"], "routes": [served, not_found]}


def _header(key: str, value: str) -> Part:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _picker_filter() -> Part:
    """Response trailers are asked for so that the stream lives, and counts, until the response ends."""
    config = {
        "@type": f"{_HTTP}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
        "failure_mode_allow": False,
        "message_timeout": f"{_PICKER_ANSWER_S}s",
        "status_on_error": {"code": 502},
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "NONE",
            "response_trailer_mode": "SEND",
        },
        "metadata_options": {
            "forwarding_namespaces": {"untyped": [wire.METADATA, wire.METADATA_SUBSET]},
            "receiving_namespaces": {"untyped": [wire.METADATA]},
        },
    }
    return {"name": "envoy.filters.http.ext_proc", "typed_config": config}


def _router_filter() -> Part:
    config = {"@type": f"{_HTTP}.router.v3.Router", "suppress_envoy_headers": True}
    return {"name": "envoy.filters.http.router", "typed_config": config}


def _error(status: int, code: str, message: str) -> Part:
    return wire.error_of(status, code, message)


def _error_text(status: int, code: str, message: str) -> str:
    return orjson.dumps(_error(status, code, message)).decode()


def _local_replies(settings: Settings) -> list[Part]:
    """What Envoy says by itself, in OpenAI's form. The picker never answers 413 or 502."""
    too_large = f"The body is larger than {settings.body_bytes_max} bytes."
    return [
        _local_reply(_status(413), 413, "body_too_large", too_large),
        _local_reply(_status(502), 503, "router_unavailable", "The router does not answer. Try again."),
        _local_reply(
            {"response_flag_filter": {"flags": ["UH", "UF", "UC", "UR", "LR", "UO", "NC", "URX", "UT"]}},
            503,
            "engine_unreachable",
            "The engine cannot be reached or broke off. Try again.",
        ),
    ]


def _status(code: int) -> Part:
    value = {"default_value": code, "runtime_key": f"ingle.status_{code}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _local_reply(condition: Part, status: int, code: str, message: str) -> Part:
    reply: Part = {
        "filter": condition,
        "status_code": status,
        "body_format_override": {
            "json_format": _error(status, code, message),
            "content_type": "application/json",
        },
    }
    if status == 503:
        reply["headers_to_add"] = [_header("retry-after", "1")]
    return reply


def _limits() -> Part:
    bounds = {
        "max_connections": _MANY,
        "max_pending_requests": _MANY,
        "max_requests": _MANY,
    }
    return {"thresholds": [bounds]}


def _engines(settings: Settings) -> Part:
    return {
        "name": "engines",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": f"{settings.connect_s}s",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": wire.ENDPOINT},
        "circuit_breakers": _limits(),
    }


def _picker(settings: Settings) -> Part:
    endpoint = {"endpoint": {"address": _socket(settings.listen, settings.port_picker)}}
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "picker", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": _limits(),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP2,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
