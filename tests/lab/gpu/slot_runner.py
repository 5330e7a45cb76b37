"""Holds a slot on request: a line `[method, argument]` in, "ok" or the error's name out."""

import json
import sys

from ingle_lab.gpu import OutOfMemory, Slot

with Slot(sys.argv[1], sys.argv[2:]) as slot:
    print("ready", flush=True)
    for line in sys.stdin:
        method, argument = json.loads(line)
        try:
            getattr(slot, method)(argument)
        except OutOfMemory as error:
            print(f"OutOfMemory: {error}", flush=True)
        else:
            print("ok", flush=True)
