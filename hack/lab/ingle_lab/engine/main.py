"""Starts an engine: flags, GPUs, load, then the port, then serve until told to stop."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from ingle_lab.engine import flags, sglang
from ingle_lab.engine.compilecache import CompileCache
from ingle_lab.engine.control import Control
from ingle_lab.engine.faults import CRASH_EXIT_CODE, Faults
from ingle_lab.engine.flags import LabSettings, Options, UsageError
from ingle_lab.engine.http import Connection, Handler, Reply, Request
from ingle_lab.engine.inference import Inference
from ingle_lab.engine.life import Life
from ingle_lab.engine.metrics import Counters
from ingle_lab.engine.profile import MIB, Profile, profile_of
from ingle_lab.engine.wire import ApiError
from ingle_lab.gpu import BuildError, OutOfMemory, Slot, StateError

log = logging.getLogger("ingle_lab.engine")
_LAST_WORDS_S = 0.2  # for answers that say a request was cut off


def main(argv: Sequence[str], imported: bool = False) -> int:
    """Runs one engine; returns the exit code: 0 told to stop, 1 could not start, 2 bad flags.

    `imported`: its imports have taken their time already.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        options = _options(argv)
        settings = flags.lab_settings(os.environ, options.tensor_parallel)
        profile = profile_of(options.model).quantized(options.quantization)
        kv_bytes = _kv_bytes(options, profile)
        context_tokens = _context_tokens(options, profile, kv_bytes)
    except (UsageError, ValueError) as error:
        log.error("ValueError: %s", error)
        return 1
    if options.unknown_flags:
        log.warning("flags that change nothing here: %s", " ".join(options.unknown_flags))
    if settings.start_fault == "crash_on_load":
        log.error("crash on load, as asked by LAB_FAULT")
        return CRASH_EXIT_CODE
    try:
        slot = Slot(settings.gpu_state, settings.gpu_uuids)
    except (BuildError, StateError, ValueError, OSError) as error:
        log.error("RuntimeError: no CUDA GPUs are available: %s", error)
        return 1
    with slot:
        return asyncio.run(_run(slot, options, settings, profile, kv_bytes, context_tokens, imported))


def _options(argv: Sequence[str]) -> Options:
    """Of vLLM, or of SGLang with that word first. Raises UsageError."""
    if list(argv[:1]) == [sglang.NAME]:
        return sglang.parse(argv[1:], os.environ)
    return flags.parse(argv, os.environ)


def _kv_bytes(options: Options, profile: Profile) -> int:
    """KV cache on each GPU, in bytes: as asked for in bytes or tokens, else the profile's."""
    if options.kv_tokens is not None:
        return options.kv_tokens * profile.kv_bytes_per_token // options.tensor_parallel
    return options.kv_bytes if options.kv_bytes is not None else profile.kv_mib * MIB


def _context_tokens(options: Options, profile: Profile, kv_bytes: int) -> int:
    """The longest request, prompt and answer; it must fit the KV cache. Raises ValueError as vLLM does."""
    room = kv_bytes * options.tensor_parallel // profile.kv_bytes_per_token
    if options.max_model_len == flags.FIT_KV_CACHE:
        return min(profile.max_model_len, room)
    wanted = options.max_model_len or profile.max_model_len
    if wanted > room:
        needed_mib = wanted * profile.kv_bytes_per_token // options.tensor_parallel // MIB
        raise ValueError(
            f"To serve at least one request with the model's max seq len ({wanted}), {needed_mib} MiB KV cache "
            f"is needed per GPU, which is larger than the available KV cache memory ({kv_bytes // MIB} MiB). "
            f"The estimated maximum model length is {room}. Increase --kv-cache-memory-bytes or decrease "
            "--max-model-len."
        )
    return wanted


async def _run(
    slot: Slot,
    options: Options,
    settings: LabSettings,
    profile: Profile,
    kv_bytes: int,
    context_tokens: int,
    imported: bool,
) -> int:
    stop = _on_signals()
    faults, counters = Faults(), Counters()
    life = Life(
        profile,
        slot,
        faults,
        counters,
        gpus=options.tensor_parallel,
        kv_bytes=kv_bytes,
        seqs_max=options.max_num_seqs or profile.max_num_seqs,
        time_scale=settings.time_scale,
    )
    exit_code = await _load(life, settings, stop, CompileCache(options, os.environ), imported)
    if exit_code is not None:
        return exit_code
    control = Control(life, faults, counters, options, context_tokens, int(time.time()))
    inference = Inference(life, counters, options.served_names, context_tokens)
    handler = _dispatcher(_routes(control, inference, options, settings, faults), faults)
    await _serve(options, settings, life, handler, inference, stop)
    return 0


async def _load(
    life: Life, settings: LabSettings, stop: asyncio.Event, cache: CompileCache, imported: bool
) -> int | None:
    """None when the model is loaded, else the exit code."""
    started_at_s = time.monotonic()
    if settings.start_fault == "never_ready":
        log.warning("will never be ready, as asked by LAB_FAULT")
    never_ready = settings.start_fault == "never_ready"
    never = asyncio.Event().wait() if never_ready else life.load(cache.present(), imported)
    loading, stopped = asyncio.ensure_future(never), asyncio.ensure_future(stop.wait())
    await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not loading.done():
        loading.cancel()
        return 0
    try:
        loading.result()
    except OutOfMemory as error:
        log.error("torch.OutOfMemoryError: CUDA out of memory. %s", error)
        log.error("RuntimeError: Engine core initialization failed. See root cause above.")
        return 1
    cache.fill()
    log.info("loaded after %.3f s", time.monotonic() - started_at_s)
    return None


def _routes(
    control: Control, inference: Inference, options: Options, settings: LabSettings, faults: Faults
) -> dict[str, tuple[str, Handler]]:
    routes: dict[str, tuple[str, Handler]] = {
        "/v1/chat/completions": ("POST", inference.chat),
        "/v1/completions": ("POST", inference.complete),
        "/v1/models": ("GET", control.models),
    }
    if settings.faults_allowed:
        routes["/lab/fault"] = ("POST", control.fault)
    if options.kind == sglang.NAME:
        return routes | sglang.SGLang(control, options, faults.crash).routes()
    routes |= {
        "/health": ("GET", control.health),
        "/version": ("GET", control.version),
        "/metrics": ("GET", control.metrics),
    }
    if options.sleep_endpoints:
        routes["/sleep"] = ("POST", control.sleep)
        routes["/wake_up"] = ("POST", control.wake_up)
        routes["/is_sleeping"] = ("GET", control.is_sleeping)
        routes["/collective_rpc"] = ("POST", control.collective_rpc)
        routes["/reset_prefix_cache"] = ("POST", control.reset_prefix_cache)
    return routes


def _dispatcher(routes: dict[str, tuple[str, Handler]], faults: Faults) -> Handler:
    async def handle(request: Request, reply: Reply) -> None:
        if faults.hanging and request.path != "/lab/fault":
            await faults.passed()
        method, handler = routes.get(request.path, ("", None))
        if handler is None:
            reply.send(404, b'{"detail":"Not Found"}')
        elif request.method != method:
            reply.send(405, b'{"detail":"Method Not Allowed"}')
        else:
            try:
                await handler(request, reply)
            except ApiError as error:
                reply.send(error.status, error.body())

    return handle


async def _serve(
    options: Options,
    settings: LabSettings,
    life: Life,
    handler: Handler,
    inference: Inference,
    stop: asyncio.Event,
) -> None:
    open_connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    # Only now, after the load, as vLLM does: until then a connection is refused.
    server = await loop.create_server(
        lambda: Connection(handler, open_connections, settings.keep_alive_s), options.host, options.port
    )
    log.info("listening on %s:%d as %s", options.host, options.port, ", ".join(options.served_names))
    await stop.wait()
    stop.clear()
    server.close()
    inference.stopping = True
    for connection in list(open_connections):
        connection.close_if_idle()
    await _first_of(settings.grace_s, life.pump.drained, stop.wait)
    life.pump.abort_all("the server is shutting down")
    await asyncio.sleep(_LAST_WORDS_S if open_connections else 0.0)
    for connection in list(open_connections):
        connection.close()


async def _first_of(timeout_s: float, *waits: Callable[[], Awaitable[object]]) -> None:
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _on_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT; cleared by who has seen the first, so that a second one means hurry."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
