"""vLLM: sleep mode, with its development endpoints, which no user can reach.

It says `is_sleeping` until all parts are awake, and a call for what is so already does nothing: a wake of several calls
is repeated from the start by whoever finds it half done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import aiohttp
import orjson

from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_operator.adapters.adapter import SILENT, EngineWord, Outcome
from ingle_operator.adapters.calls import Calls

RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_MIB = 1024 * 1024
_RELOAD = {"method": "reload_weights"}


class VLLM:
    """`vllm serve`."""

    can_sleep: ClassVar[bool] = True
    tells_sleep: ClassVar[bool] = True
    lowers: ClassVar[bool] = True
    command: ClassVar[tuple[str, ...]] = ()
    env: ClassVar[Mapping[str, str]] = {"VLLM_SERVER_DEV_MODE": "1"}
    probe_fields: ClassVar[Mapping[str, object]] = {"ignore_eos": True}
    module: ClassVar[str] = "vllm.entrypoints.openai.api_server"
    also: ClassVar[tuple[str, ...]] = ()  # modules of its workers may start CUDA, which no fork survives
    # Spawned workers would import again.
    spare_env: ClassVar[Mapping[str, str]] = {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}

    def arguments(self, spec: InferencePoolSpec, variant: Variant) -> list[str]:
        args = ["--model", spec.model, "--served-model-name", spec.model, "--host", "$(POD_IP)"]
        args += ["--port", str(spec.engine.port), "--tensor-parallel-size", str(variant.gpus)]
        if level_of(spec.warm.level) is not Level.SPARE:
            args += ["--enable-sleep-mode"]
        if variant.context_tokens is not None:
            args += ["--max-model-len", str(variant.context_tokens)]
        if variant.memory_mib.kv_cache is not None:
            args += ["--kv-cache-memory-bytes", str(variant.memory_mib.kv_cache * _MIB)]
        return args

    async def word(self, calls: Calls, count: bool) -> EngineWord:
        asleep = orjson.loads(await calls.text("/is_sleeping"))["is_sleeping"]
        if not isinstance(asleep, bool):
            return SILENT
        return EngineWord(asleep, await self.running(calls) if count and not asleep else 0)

    async def running(self, calls: Calls) -> int:
        return requests_in(await calls.text("/metrics"))

    async def idle(self, calls: Calls) -> bool:
        try:
            return await self.running(calls) == 0
        except (aiohttp.ClientError, OSError, ValueError):
            return False

    async def sleep(self, calls: Calls, level: Level) -> Outcome:
        return outcome_of(await calls.post(f"/sleep?level={2 if level is Level.L2 else 1}", slow=True))

    async def wake(self, calls: Calls, level: Level) -> Outcome:
        if level is Level.L1:
            return await _in_turn(calls, ("/wake_up", None), ("/reset_prefix_cache", None))
        return await _in_turn(
            calls,
            ("/wake_up?tags=weights", None),
            ("/collective_rpc", _RELOAD),
            ("/wake_up?tags=kv_cache", None),
            ("/reset_prefix_cache", None),
        )

    async def refresh(self, calls: Calls) -> Outcome:
        return outcome_of(await calls.post("/reset_prefix_cache"))


async def _in_turn(calls: Calls, *steps: tuple[str, object]) -> Outcome:
    """One call after the other, as far as they succeed."""
    for path, body in steps:
        outcome = outcome_of(await calls.post(path, body, slow=body is _RELOAD))
        if outcome is not Outcome.DONE:
            return outcome
    return Outcome.DONE


def outcome_of(status: int | None) -> Outcome:
    """What a status says; None: no answer."""
    if status is None:
        return Outcome.UNKNOWN
    return Outcome.DONE if status == 200 else Outcome.REFUSED


def requests_in(metrics: str) -> int:
    """Requests that vLLM's metrics say run or wait. Raises ValueError where they say nothing of it."""
    counts = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.split("{")[0].split(" ")[0] in RUNNING
    ]
    if not counts:
        raise ValueError(f"no {RUNNING[0]} in /metrics")
    return int(sum(counts))
