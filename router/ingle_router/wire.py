"""What the picker says to Envoy: ext_proc messages, OpenAI errors, header names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext
from envoy.type.v3 import http_status_pb2

from ingle_core.routing import Refuse

ENDPOINT: Final = "x-gateway-destination-endpoint"
SUBSET: Final = "x-gateway-destination-endpoint-subset"
SERVED: Final = "x-gateway-destination-endpoint-served"
METADATA: Final = "envoy.lb"
METADATA_SUBSET: Final = "envoy.lb.subset_hint"
TICKET: Final = "x-ingle-held"
AGAIN: Final = "x-ingle-again"
SERVED_BY: Final = "x-ingle-served-by"
TEST_SUBSET: Final = "test-epp-endpoint-selection"
TEST_SERVED: Final = "x-conformance-test-served-endpoint"

SECRET_HEADERS: Final = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
"""What proves who the caller is: read by the picker, seen by nobody behind it."""

PATHS: Final = frozenset(
    f"/v1/{name}"
    for name in ("chat/completions", "completions", "embeddings", "messages", "responses", "rerank", "score")
)
"""What may be asked of an engine. Its other paths, also under /v1, change the engine."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class Asked(msgspec.Struct):
    """The two fields of a request body that routing needs; all others are skipped unread."""

    model: str
    stream: bool | None = None


_decode_asked = msgspec.json.Decoder(Asked).decode


def asked_of(body: bytes) -> Asked:
    """Raises ValueError where the body is not a JSON object with a `model`."""
    return _decode_asked(body)


def with_model(body: bytes, model: str) -> bytes:
    """The body with another `model`."""
    fields = orjson.loads(body)
    fields["model"] = model
    return orjson.dumps(fields)


def error_of(status: int, code: str, message: str) -> dict[str, Any]:
    """An error as OpenAI's clients expect it."""
    return {"error": {"message": message, "type": _TYPES.get(status, "server_error"), "code": code}}


def refused_in_band(refusal: Refuse) -> dict[str, Any]:
    """A refusal where it is too late for a status and a Retry-After header."""
    error = error_of(refusal.status, refusal.code, refusal.message)
    if refusal.retry_after_s is not None:
        error["error"]["retry_after"] = refusal.retry_after_s
    return error


def read_headers(headers: Any) -> dict[str, str]:
    """Envoy's header map; a name that stands twice keeps its first value."""
    found: dict[str, str] = {}
    for header in headers.headers.headers:
        found.setdefault(header.key, header.raw_value.decode("latin-1") or header.value)
    return found


def read_subset(message: Any, headers: Mapping[str, str], conformance: bool) -> frozenset[str] | None:
    """The addresses that the gateway allows; None where it sets no limit."""
    if conformance and TEST_SUBSET in headers:
        return _addresses(headers[TEST_SUBSET].split(","))
    hint = message.metadata_context.filter_metadata
    if METADATA_SUBSET not in hint or SUBSET not in hint[METADATA_SUBSET]:
        return None
    value = hint[METADATA_SUBSET][SUBSET]
    return _addresses(value if not isinstance(value, str) else value.split(","))


def read_served(message: Any) -> str:
    """The endpoint that the gateway says it used; empty where it says nothing."""
    metadata = message.metadata_context.filter_metadata
    if METADATA not in metadata or SERVED not in metadata[METADATA]:
        return ""
    return str(metadata[METADATA][SERVED])


def _addresses(values: Iterable[Any]) -> frozenset[str]:
    return frozenset(str(value).strip() for value in values if str(value).strip())


def _set(pairs: Mapping[str, str]) -> list[Any]:
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=key, raw_value=value.encode("latin-1", "replace")),
            append_action=overwrite,
        )
        for key, value in pairs.items()
    ]


def send_to(address: str, body: bytes | None, ticket: str = "") -> bytes:
    """Direct the request to an address, by header and by metadata, without what proved the caller."""
    pairs = {ENDPOINT: address} | ({TICKET: ticket} if ticket else {})
    if body is not None:
        # Envoy compares the two and drops the request where they differ.
        pairs["content-length"] = str(len(body))
    remove = SECRET_HEADERS if ticket else (*SECRET_HEADERS, TICKET)
    common = ext.CommonResponse(
        header_mutation=ext.HeaderMutation(set_headers=_set(pairs), remove_headers=remove)
    )
    if body is not None:
        common.body_mutation.body = body
    answer = ext.ProcessingResponse(request_body=ext.BodyResponse(response=common))
    answer.dynamic_metadata.update({METADATA: {ENDPOINT: address}})
    return bytes(answer.SerializeToString())


def reply(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Answer the client here."""
    pairs = {"content-type": "application/json"} | dict(headers)
    immediate = ext.ImmediateResponse(
        status=http_status_pb2.HttpStatus(code=status),
        headers=ext.HeaderMutation(set_headers=_set(pairs)),
        body=orjson.dumps(body),
    )
    return bytes(ext.ProcessingResponse(immediate_response=immediate).SerializeToString())


def refuse(refusal: Refuse, headers: Mapping[str, str] | None = None) -> bytes:
    """A refusal as the client sees it; Retry-After where it may help to try again."""
    pairs = dict(headers or {})
    if refusal.retry_after_s is not None:
        pairs["retry-after"] = str(refusal.retry_after_s)
    return reply(refusal.status, error_of(refusal.status, refusal.code, refusal.message), pairs)


def response_headers(pairs: Mapping[str, str]) -> bytes:
    """Let the response headers pass, with these added."""
    if not pairs:
        return CONTINUE_RESPONSE
    common = ext.CommonResponse(header_mutation=ext.HeaderMutation(set_headers=_set(pairs)))
    answer = ext.ProcessingResponse(response_headers=ext.HeadersResponse(response=common))
    return bytes(answer.SerializeToString())


CONTINUE_REQUEST: Final = bytes(
    ext.ProcessingResponse(request_headers=ext.HeadersResponse()).SerializeToString()
)
CONTINUE_RESPONSE: Final = bytes(
    ext.ProcessingResponse(response_headers=ext.HeadersResponse()).SerializeToString()
)
CONTINUE_TRAILERS: Final = bytes(
    ext.ProcessingResponse(response_trailers=ext.TrailersResponse()).SerializeToString()
)
parse_request = ext.ProcessingRequest.FromString
