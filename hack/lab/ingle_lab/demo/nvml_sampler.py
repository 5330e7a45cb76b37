"""Reads one node's GPUs through the real pynvml and prints them, a JSON line a reading: an independent witness.

A process of its own, since a process can load only one `libnvidia-ml.so.1`. A GPU that cannot be read has no memory
in the reading and keeps its last limit: firmware goes on enforcing it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass
class Gpu:
    """One GPU and its last reading; `used_bytes` None while it cannot be read."""

    handle: Any
    uuid: str
    enforced_w: float = 0.0
    draw_w: float = 0.0
    used_bytes: int | None = None

    def read(self) -> None:
        try:
            self.enforced_w = pynvml.nvmlDeviceGetEnforcedPowerLimit(self.handle) / 1000
            self.draw_w = pynvml.nvmlDeviceGetPowerUsage(self.handle) / 1000
            self.used_bytes = int(pynvml.nvmlDeviceGetMemoryInfo(self.handle, pynvml.nvmlMemory_v2).used)
        except pynvml.NVMLError:
            self.used_bytes = None


def main() -> None:
    period_s = float(sys.argv[1])
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    gpus = [Gpu(handle, _text(pynvml.nvmlDeviceGetUUID(handle))) for handle in handles]
    while True:
        at_s = time.time()
        for gpu in gpus:
            gpu.read()
        row = {
            "at_s": at_s,
            "until_s": time.time(),
            "uuids": [gpu.uuid for gpu in gpus],
            "enforced_w": [gpu.enforced_w for gpu in gpus],
            "draw_w": [gpu.draw_w for gpu in gpus],
            "used": [gpu.used_bytes for gpu in gpus],
        }
        print(json.dumps(row), flush=True)
        time.sleep(period_s)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
