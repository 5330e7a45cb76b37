"""Stands in for what an engine imports: importing this takes that time, once in a process and all that is forked from it."""

import argparse
import os
import sys
import time

from ingle_lab.engine.life import IMPORT_SHARE
from ingle_lab.engine.profile import profile_of


def seconds(words: list[str], time_scale: float) -> float:
    """The imports' share of the load of the model that the command line names."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--model", "--model-path", nargs="?", default="")
    known, _ = parser.parse_known_args(words)
    return profile_of(known.model or "").load_s * IMPORT_SHARE * time_scale


_took_s = seconds(sys.argv[1:], float(os.environ.get("INGLE_LAB_TIME_SCALE") or 1.0))
print(f"INFO imports take {_took_s:.3f} s (simulated)", file=sys.stderr, flush=True)
time.sleep(_took_s)
