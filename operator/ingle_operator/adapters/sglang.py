"""SGLang: memory saver. It does not say whether its memory is released, and does not bear the same call twice.

Its scheduler ends when it is told to release what is released, to resume what is there, or to release while a request
runs. So `core/warmpool/silent.py` decides whether it sleeps, and a call whose answer is lost is never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import orjson

from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_operator.adapters.adapter import EngineWord, Outcome
from ingle_operator.adapters.calls import Calls
from ingle_operator.adapters.vllm import outcome_of

WEIGHTS, KV_CACHE = "weights", "kv_cache"
_RELEASE, _RESUME = "/release_memory_occupation", "/resume_memory_occupation"


class SGLang:
    """`python3 -m sglang.launch_server`."""

    can_sleep: ClassVar[bool] = True
    tells_sleep: ClassVar[bool] = False
    lowers: ClassVar[bool] = False
    command: ClassVar[tuple[str, ...]] = ("python3", "-m", "sglang.launch_server")
    # Else each /health makes a token, which ends a sleeper.
    env: ClassVar[Mapping[str, str]] = {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "false"}
    probe_fields: ClassVar[Mapping[str, object]] = {"ignore_eos": True}
    module: ClassVar[str] = "sglang.launch_server"
    also: ClassVar[tuple[str, ...]] = ("sglang.srt.entrypoints.http_server",)  # imported late
    spare_env: ClassVar[Mapping[str, str]] = {}

    def arguments(self, spec: InferencePoolSpec, variant: Variant) -> list[str]:
        args = ["--model-path", spec.model, "--served-model-name", spec.model, "--host", "$(POD_IP)"]
        args += ["--port", str(spec.engine.port), "--tp-size", str(variant.gpus)]
        args += ["--enable-metrics"]
        if level_of(spec.warm.level) is not Level.SPARE:
            args += ["--enable-memory-saver"]
        if spec.warm.level == Level.L1:
            args += ["--enable-weights-cpu-backup"]
        if variant.context_tokens is not None:
            args += ["--context-length", str(variant.context_tokens)]
        return args

    async def word(self, calls: Calls, count: bool) -> EngineWord:
        await calls.text("/health")
        return EngineWord(False)  # its gauges of requests lag; `sleep` asks in another way

    async def running(self, calls: Calls) -> int:
        return 0

    async def idle(self, calls: Calls) -> bool:
        """Flushing its cache succeeds only while no request runs or waits."""
        return await calls.post("/flush_cache") == 200

    async def sleep(self, calls: Calls, level: Level) -> Outcome:
        if not await self.idle(calls):
            return Outcome.BUSY
        return outcome_of(await calls.post(_RELEASE, {"tags": [KV_CACHE, WEIGHTS]}, slow=True))

    async def wake(self, calls: Calls, level: Level) -> Outcome:
        resumed = outcome_of(await calls.post(_RESUME, {"tags": [WEIGHTS]}, slow=True))
        if level is Level.L2 and resumed is Outcome.DONE:
            resumed = await self._read_weights(calls)
        if resumed is not Outcome.DONE:
            return resumed
        resumed = outcome_of(await calls.post(_RESUME, {"tags": [KV_CACHE]}))
        return await self.refresh(calls) if resumed is Outcome.DONE else resumed

    async def _read_weights(self, calls: Calls) -> Outcome:
        try:
            path = orjson.loads(await calls.text("/model_info"))["model_path"]
        except (ValueError, KeyError, TypeError, OSError, TimeoutError):
            return Outcome.UNKNOWN
        return outcome_of(await calls.post("/update_weights_from_disk", {"model_path": path}, slow=True))

    async def refresh(self, calls: Calls) -> Outcome:
        return outcome_of(await calls.post("/flush_cache"))
