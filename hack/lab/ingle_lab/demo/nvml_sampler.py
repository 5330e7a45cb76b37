"""Reads one node's GPUs through the real pynvml and prints them, a JSON line a reading: an independent witness.

A process of its own, since a process can load only one `libnvidia-ml.so.1`.
"""

from __future__ import annotations

import json
import sys
import time

import pynvml


def main() -> None:
    period_s = float(sys.argv[1])
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    uuids = [_text(pynvml.nvmlDeviceGetUUID(h)) for h in handles]
    while True:
        at_s = time.time()
        enforced_w = [pynvml.nvmlDeviceGetEnforcedPowerLimit(h) / 1000 for h in handles]
        draw_w = [pynvml.nvmlDeviceGetPowerUsage(h) / 1000 for h in handles]
        memory = [pynvml.nvmlDeviceGetMemoryInfo(h, pynvml.nvmlMemory_v2) for h in handles]
        used = [int(m.used) for m in memory]
        row = {
            "at_s": at_s,
            "until_s": time.time(),
            "uuids": uuids,
            "enforced_w": enforced_w,
            "draw_w": draw_w,
            "used": used,
        }
        print(json.dumps(row), flush=True)
        time.sleep(period_s)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
