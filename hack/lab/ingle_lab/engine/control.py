"""Everything but inference: models, health, metrics, sleep and wake, faults."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, get_args
from urllib.parse import parse_qs

import msgspec

from ingle_lab.engine.faults import FaultOrder, Faults
from ingle_lab.engine.flags import Options
from ingle_lab.engine.http import Reply, Request
from ingle_lab.engine.life import TAGS, Life, Mode, State, WakeError
from ingle_lab.engine.metrics import Counters, Page
from ingle_lab.engine.wire import ApiError, bad_request

VERSION = "0.14.0+lab"
_BLOCK_TOKENS = 16
_SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")


class Rpc(msgspec.Struct):
    """Body of /collective_rpc, as far as it matters here."""

    method: str


class Control:
    """The endpoints around the model. A transition goes on when who asked for it goes away."""

    def __init__(
        self,
        life: Life,
        faults: Faults,
        counters: Counters,
        options: Options,
        context_tokens: int,
        started_at: int,
    ) -> None:
        self.life, self.counters = life, counters
        self._life, self._faults, self._counters = life, faults, counters
        self._options, self._context_tokens, self._started_at = options, context_tokens, started_at
        self._transitions: set[asyncio.Task[None]] = set()

    async def health(self, request: Request, reply: Reply) -> None:
        reply.send(200, b"")

    async def version(self, request: Request, reply: Reply) -> None:
        reply.send(200, msgspec.json.encode({"version": VERSION}))

    async def models(self, request: Request, reply: Reply) -> None:
        common = {"object": "model", "created": self._started_at, "owned_by": "vllm", "parent": None}
        common |= {"root": self._options.model, "max_model_len": self._context_tokens}
        data = [{"id": name, **common} for name in self._options.served_names]
        reply.send(200, msgspec.json.encode({"object": "list", "data": data}))

    async def sleep(self, request: Request, reply: Reply) -> None:
        query = parse_qs(request.query)
        level, mode = query.get("level", ["1"])[-1], query.get("mode", ["abort"])[-1]
        if level not in ("1", "2"):
            raise bad_request(f"level={level!r}: use 1 or 2", "level")
        for known in get_args(Mode):
            if mode == known:
                await self.finish(self._life.sleep(int(level), known))
                reply.send(200, b"")
                return
        raise bad_request(f"mode={mode!r}: use {', '.join(get_args(Mode))}", "mode")

    async def wake_up(self, request: Request, reply: Reply) -> None:
        self.count_wake()
        tags = parse_qs(request.query).get("tags", list(TAGS))
        if unknown := set(tags) - set(TAGS):
            raise bad_request(f"tags={sorted(unknown)}: use {', '.join(TAGS)}", "tags")
        try:
            await self.finish(self._life.wake(tags))
        except WakeError as error:
            raise ApiError(500, "InternalServerError", str(error)) from None
        reply.send(200, b"")

    async def is_sleeping(self, request: Request, reply: Reply) -> None:
        """True from the moment a sleep is accepted until all parts are awake."""
        reply.send(200, msgspec.json.encode({"is_sleeping": self._life.state is not State.AWAKE}))

    async def collective_rpc(self, request: Request, reply: Reply) -> None:
        """`reload_weights` in every worker; the last of the two steps that a level 2 sleeper needs for its weights."""
        try:
            method = msgspec.json.decode(request.body, type=Rpc).method
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_request(f"JSON decode error: {error}") from None
        if method != "reload_weights":
            raise ApiError(500, "InternalServerError", f"Worker has no attribute {method!r}")
        try:
            await self.finish(self._life.reload())
        except WakeError as error:
            raise ApiError(500, "InternalServerError", str(error)) from None
        reply.send(200, msgspec.json.encode({"results": [None] * self._options.tensor_parallel}))

    async def reset_prefix_cache(self, request: Request, reply: Reply) -> None:
        """This engine keeps no prefixes."""
        reply.send(200, b"")

    def count_wake(self) -> None:
        self._counters.wake_calls += 1
        self._counters.wake_call_at_s = time.time()

    async def fault(self, request: Request, reply: Reply) -> None:
        try:
            order = msgspec.json.decode(request.body, type=FaultOrder)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_request(f"fault: {error}") from None
        if order.kind == "slow" and not order.factor > 0:
            raise bad_request("fault: factor must be above 0", "factor")
        reply.send(200, msgspec.json.encode({"fault": order.kind}))
        self._apply(order)

    def _apply(self, order: FaultOrder) -> None:
        if order.kind == "crash":
            # the answer leaves first; what is left in the buffers dies with the process
            asyncio.get_running_loop().call_soon(self._faults.crash)
        elif order.kind == "hang":
            self._life.pump.stop_clock()
            self._faults.hang(order.seconds)
            self._keep(self._go_on_after_hang())
        elif order.kind == "fail_wake":
            self._faults.wake_failures_left = order.times
        elif order.kind == "keep_memory_after_sleep":
            self._faults.kept_mib = order.mib
        elif order.kind == "compile":
            self._life.compile_again(order.times)
        elif order.kind == "slow":
            self._life.pump.slow_down(order.factor)
        else:
            self._faults.clear()
            self._life.pump.slow_down(1.0)

    async def metrics(self, request: Request, reply: Reply) -> None:
        life, counters = self._life, self._counters
        life.pump.turn()
        page = Page({"model_name": self._options.served_names[0], "engine": "0"})
        page.one("vllm:num_requests_running", "gauge", life.batch.running_count)
        page.one("vllm:num_requests_waiting", "gauge", len(life.batch.waiting))
        page.one("vllm:kv_cache_usage_perc", "gauge", life.batch.kv_used_fraction)
        name = "vllm:engine_sleep_state"
        states = enumerate(_SLEEP_STATES)
        page.many(
            name, "gauge", [(name, {"sleep_state": s}, float(i == life.shown_level)) for i, s in states]
        )
        blocks = str(life.kv_tokens_max // _BLOCK_TOKENS)
        page.one("vllm:cache_config_info", "gauge", 1, block_size=str(_BLOCK_TOKENS), num_gpu_blocks=blocks)
        page.one("vllm:prompt_tokens_total", "counter", counters.prompt_tokens)
        page.one("vllm:generation_tokens_total", "counter", counters.generation_tokens)
        name = "vllm:request_success_total"
        ends = [(name, {"finished_reason": why}, number) for why, number in counters.finished.items()]
        page.many(name, "counter", ends)
        name = "vllm:time_to_first_token_seconds"
        page.many(name, "histogram", counters.first_token.samples(name))
        self.add_lab_metrics(page)
        reply.send(200, page.text(), "text/plain; version=0.0.4; charset=utf-8")

    def add_lab_metrics(self, page: Page) -> None:
        """What only a stand-in tells."""
        life, counters = self._life, self._counters
        page.one("lab:refused_while_asleep_total", "counter", counters.refused_while_asleep)
        page.one("lab:answers_without_weights_total", "counter", counters.without_weights)
        page.one("lab:wake_calls_total", "counter", counters.wake_calls)
        page.one("lab:last_wake_call_at_seconds", "gauge", counters.wake_call_at_s)
        page.one("lab:gpu_memory_bytes", "gauge", life.held_bytes)
        page.one("lab:host_backup_bytes", "gauge", life.host_backup_bytes)

    async def _go_on_after_hang(self) -> None:
        await self._faults.passed()
        self._life.pump.start_clock()

    async def finish(self, transition: Coroutine[Any, Any, None]) -> None:
        """Waits for a transition, which goes on when nobody waits any more."""
        await asyncio.shield(self._keep(transition))

    def _keep(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._transitions.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._transitions.discard(task)
        if not task.cancelled():
            task.exception()  # its teller may be gone; the log has it
