"""What vLLM keeps in VLLM_CACHE_ROOT between two starts: here a file that says that it was compiled once."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from ingle_lab.engine.flags import Options

ROOT_VARIABLE = "VLLM_CACHE_ROOT"


class CompileCache:
    """Of one engine. Without the variable nothing is kept: a container's own folder goes with it."""

    def __init__(self, options: Options, env: Mapping[str, str]) -> None:
        told = (options.model, options.tensor_parallel, options.max_model_len, options.quantization)
        digest = hashlib.sha256(repr(told).encode()).hexdigest()[
            :10
        ]  # vLLM's own, finer than the folder's key
        root = env.get(ROOT_VARIABLE)
        self._graph = Path(root) / "torch_compile_cache" / digest / "graph" if root else None

    def present(self) -> bool:
        return self._graph is not None and self._graph.is_file()

    def fill(self) -> None:
        """Whole or not at all; a folder that cannot be written costs the next start its time, nothing else."""
        if self._graph is None or self.present():
            return
        try:
            self._graph.parent.mkdir(parents=True, exist_ok=True)
            draft = self._graph.with_name(f".graph.{os.getpid()}")
            draft.write_text("simulated\n")
            draft.replace(self._graph)
        except OSError:
            return
