"""The endpoint-picker protocol, spoken to the picker without Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import orjson
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext

from ingle_router.health import PICKER_SERVICE

from .conftest import CHAT, MakeRig, Rig, eventually

ENDPOINT = "x-gateway-destination-endpoint"
BODY = orjson.dumps({"model": "org/llama"})


class Stream:
    """One request as a gateway tells it."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def say(self, **fields: Any) -> Any:
        await self._call.write(ext.ProcessingRequest(**fields))
        return await self._call.read()

    async def request(self, headers: dict[str, str] | None = None, subset: list[str] | None = None) -> Any:
        """The answer to headers and body."""
        pairs = {":path": CHAT, ":method": "POST", "authorization": "Bearer alice"} | (headers or {})
        message = {
            "request_headers": ext.HttpHeaders(headers=_headers(pairs)),
            "metadata_context": _subset(subset),
        }
        first = await self.say(**message)
        if first.WhichOneof("response") != "request_headers":
            return first
        return await self.say(request_body=ext.HttpBody(body=BODY, end_of_stream=True))


def _headers(pairs: dict[str, str]) -> Any:
    return base_pb2.HeaderMap(
        headers=[base_pb2.HeaderValue(key=k, raw_value=v.encode()) for k, v in pairs.items()]
    )


def _subset(subset: list[str] | None) -> base_pb2.Metadata:
    metadata = base_pb2.Metadata()
    if subset is not None:
        metadata.filter_metadata["envoy.lb.subset_hint"].update({f"{ENDPOINT}-subset": subset})
    return metadata


def header(mutations: Iterable[Any], name: str) -> str | None:
    return next((h.header.raw_value.decode() for h in mutations if h.header.key == name), None)


def picked(answer: Any) -> str:
    """The endpoint, which header and metadata must both say."""
    in_header = header(answer.request_body.response.header_mutation.set_headers, ENDPOINT)
    in_metadata = answer.dynamic_metadata["envoy.lb"][ENDPOINT]
    assert in_header == in_metadata
    return str(in_header)


@asynccontextmanager
async def streaming(rig: Rig) -> AsyncIterator[Stream]:
    async with grpc.aio.insecure_channel(f"{rig.settings.listen}:{rig.settings.port_picker}") as channel:
        call = channel.stream_stream(
            f"/{PICKER_SERVICE}/Process",
            request_serializer=ext.ProcessingRequest.SerializeToString,
            response_deserializer=ext.ProcessingResponse.FromString,
        )()
        yield Stream(call)
        call.cancel()


async def test_the_answer_is_the_same_in_header_and_metadata(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    async with streaming(rig) as stream:
        answer = await stream.request()
        assert picked(answer) == engine.address
        removed = answer.request_body.response.header_mutation.remove_headers
        assert {"authorization", "cookie", "x-ingle-held"} <= set(removed)


async def test_a_subset_is_kept_to(rig: Rig) -> None:
    rig.pool("llama")
    engines = [await rig.engine("llama") for _ in range(3)]
    for engine in engines:
        async with streaming(rig) as stream:
            assert picked(await stream.request(subset=[engine.address, "127.0.0.1:1"])) == engine.address


async def test_a_subset_without_an_eligible_endpoint_is_503(rig: Rig) -> None:
    rig.pool("llama")
    await rig.engine("llama")
    for subset in ([], ["127.0.0.1:1"]):
        async with streaming(rig) as stream:
            answer = (await stream.request(subset=subset)).immediate_response
            assert answer.status.code == 503
            assert header(answer.headers.set_headers, "retry-after")
            assert orjson.loads(answer.body)["error"]["code"] == "no_endpoint"


async def test_the_count_goes_down_when_the_stream_is_cancelled(rig: Rig) -> None:
    rig.pool("llama")
    engine = await rig.engine("llama")
    async with streaming(rig) as stream:
        await stream.request()
        assert rig.in_flight(engine) == 1
        reply = await stream.say(response_headers=ext.HttpHeaders(headers=_headers({":status": "200"})))
        assert (
            header(reply.response_headers.response.header_mutation.set_headers, "x-ingle-served-by")
            == "chat/llama"
        )
        assert rig.in_flight(engine) == 1
        await stream.say(response_trailers=ext.HttpTrailers())
        assert rig.in_flight(engine) == 1
    await eventually(lambda: rig.in_flight(engine) == 0)


async def test_the_conformance_headers_count_only_where_they_are_switched_on(make_rig: MakeRig) -> None:
    for on in (True, False):
        rig = await make_rig(conformance=on)
        rig.pool("llama")
        for _ in range(2):
            chosen = await rig.engine("llama")
        rig.cluster.take(rig.cluster.endpoints[chosen.uid])
        async with streaming(rig) as stream:
            answer = await stream.request({"test-epp-endpoint-selection": chosen.address})
            assert (picked(answer) == chosen.address) is on
            metadata = base_pb2.Metadata()
            metadata.filter_metadata["envoy.lb"].update({f"{ENDPOINT}-served": chosen.address})
            headers = ext.HttpHeaders(headers=_headers({":status": "200"}))
            reply = await stream.say(response_headers=headers, metadata_context=metadata)
            mutations = reply.response_headers.response.header_mutation.set_headers
            served = header(mutations, "x-conformance-test-served-endpoint")
            assert served == (chosen.address if on else None)
