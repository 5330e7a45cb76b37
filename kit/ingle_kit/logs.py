"""One log format for all processes: time, level, where, what; one line an entry, to standard error."""

from __future__ import annotations

import logging
import sys
import time

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def setup(level: str = "INFO") -> None:
    """Call once at start. Third parties speak from WARNING on: they must not print headers or bodies."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in (
        "ingle_core",
        "ingle_kit",
        "ingle_operator",
        "ingle_extender",
        "ingle_router",
        "ingle_agent",
    ):
        logging.getLogger(name).setLevel(level)
