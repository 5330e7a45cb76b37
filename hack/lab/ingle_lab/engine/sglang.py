"""What SGLang has in place of vLLM's sleep mode, as of 0.5.23: memory saver, weights from disk, its own health and gauges.

Its scheduler asserts and looks nothing up twice: released memory that is released again, or resumed where nothing is
released, or released while a request runs, ends the process, and so does a request for a token from a sleeper.
"""

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ingle_lab.engine.control import Control
from ingle_lab.engine.flags import Options, UsageError, human_int, listen_address
from ingle_lab.engine.http import Handler, Reply, Request
from ingle_lab.engine.life import TAGS, State, WakeError
from ingle_lab.engine.metrics import Page
from ingle_lab.engine.wire import bad_request

NAME = "sglang"
_ALL_TAGS = (*TAGS, "cuda_graph")


class Tags(msgspec.Struct):
    """Body of a release or a resume; None: all."""

    tags: list[str] | None = None


class FromDisk(msgspec.Struct):
    """Body of /update_weights_from_disk, as far as it matters here."""

    model_path: str


def parse(argv: Sequence[str], env: Mapping[str, str]) -> Options:
    """Reads what follows `python -m sglang.launch_server`. Raises UsageError; exits on malformed values."""
    known, unknown = _parser().parse_known_args(argv)
    if not known.model_path:
        raise UsageError("no model given: say `--model-path MODEL`")
    generates = env.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "true").lower() not in ("false", "0")
    return Options(
        model=known.model_path,
        served_names=(known.served_model_name or known.model_path,),
        host=listen_address(known.host, env),
        port=known.port,
        tensor_parallel=known.tp_size,
        max_model_len=known.context_length,
        max_num_seqs=known.max_running_requests,
        kv_bytes=None,
        quantization=known.quantization,
        sleep_endpoints=known.enable_memory_saver,
        unknown_flags=tuple(unknown),
        kind=NAME,
        keeps_weights=known.enable_weights_cpu_backup,
        health_generates=generates,
        kv_tokens=known.max_total_tokens,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingle_lab.engine sglang", allow_abbrev=False)
    add = parser.add_argument
    add("--model-path", "--model")
    add("--served-model-name")
    add("--host", default="", help="default: the pod's address, else 127.0.0.1")
    add("--port", type=int, default=30000)
    add("--tp-size", "--tensor-parallel-size", "--tp", type=int, default=1)
    add("--context-length", type=human_int)
    add("--max-running-requests", type=int)
    add("--max-total-tokens", type=int)
    add("--quantization")
    add("--enable-memory-saver", action="store_true")
    add("--enable-weights-cpu-backup", action="store_true")
    add("--enable-metrics", action="store_true")
    return parser


class SGLang:
    """Its own endpoints around the same engine."""

    def __init__(self, control: Control, options: Options, crash: Callable[[], None]) -> None:
        self._control, self._options, self._crash = control, options, crash
        self._life = control.life

    def routes(self) -> dict[str, tuple[str, Handler]]:
        return {
            "/health": ("GET", self.health if self._options.health_generates else self._control.health),
            "/health_generate": ("GET", self.health),
            "/model_info": ("GET", self.model_info),
            "/metrics": ("GET", self.metrics),
            "/flush_cache": ("POST", self.flush_cache),
            "/release_memory_occupation": ("POST", self.release),
            "/resume_memory_occupation": ("POST", self.resume),
            "/update_weights_from_disk": ("POST", self.update_weights_from_disk),
        }

    async def health(self, request: Request, reply: Reply) -> None:
        """Makes a token, unless requests show that it lives."""
        if self._life.state is not State.AWAKE:
            await self._end()
        reply.send(200, b"")

    async def model_info(self, request: Request, reply: Reply) -> None:
        info = {"model_path": self._options.model, "served_model_name": self._options.served_names[0]}
        reply.send(200, msgspec.json.encode(info))

    async def flush_cache(self, request: Request, reply: Reply) -> None:
        reply.send(200 if self._idle() else 400, b"Cache flushed.\n" if self._idle() else b"", "text/plain")

    async def release(self, request: Request, reply: Reply) -> None:
        tags = _tags(request)
        asleep = self._life.asleep_tags
        if not self._options.sleep_endpoints or not self._idle() or tags & asleep:
            await self._end()
        if tags != set(TAGS):
            raise bad_request("this stand-in releases weights and kv_cache together", "tags")
        await self._control.finish(self._life.sleep(1 if self._options.keeps_weights else 2, "wait"))
        reply.send(200, b"null")

    async def resume(self, request: Request, reply: Reply) -> None:
        tags = _tags(request)
        if not tags <= self._life.asleep_tags:
            await self._end()
        self._control.count_wake()
        try:
            await self._control.finish(self._life.wake(sorted(tags)))
        except WakeError:  # the memory saver gives up where the driver has no memory
            await self._end()
        reply.send(200, b"null")

    async def update_weights_from_disk(self, request: Request, reply: Reply) -> None:
        try:
            path = msgspec.json.decode(request.body, type=FromDisk).model_path
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_request(str(error)) from None
        good = path == self._options.model
        if good:
            try:
                await self._control.finish(self._life.reload())
            except WakeError:
                await self._end()
        text = "Succeeded to update model weights." if good else f"Failed to get model config: {path}."
        answer = {"success": good, "message": text, "num_paused_requests": 0}
        reply.send(200 if good else 400, msgspec.json.encode(answer))

    async def metrics(self, request: Request, reply: Reply) -> None:
        self._life.pump.turn()
        batch = self._life.batch
        page = Page({"model_name": self._options.served_names[0], "tp_rank": "0"})
        page.one("sglang:num_running_reqs", "gauge", batch.running_count)
        page.one("sglang:num_queue_reqs", "gauge", len(batch.waiting))
        page.one("sglang:token_usage", "gauge", batch.kv_used_fraction)
        name = "sglang:time_to_first_token_seconds"
        page.many(name, "histogram", self._control.counters.first_token.samples(name))
        self._control.add_lab_metrics(page)
        reply.send(200, page.text(), "text/plain; version=0.0.4; charset=utf-8")

    def _idle(self) -> bool:
        return not self._life.batch.running_count and not self._life.batch.waiting

    async def _end(self) -> None:
        """The scheduler has raised, and takes the server with it: this request gets no answer."""
        self._crash()
        await asyncio.Event().wait()


def _tags(request: Request) -> set[str]:
    try:
        tags = msgspec.json.decode(request.body, type=Tags).tags
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(str(error)) from None
    if unknown := set(tags or ()) - set(_ALL_TAGS):
        raise bad_request(f"tags={sorted(unknown)}: use {', '.join(_ALL_TAGS)}", "tags")
    return set(tags or TAGS) & set(TAGS)
