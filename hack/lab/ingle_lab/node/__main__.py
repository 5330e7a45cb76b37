"""`python -m ingle_lab.node --config FILE`: runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from ingle_lab.node.config import Config, ConfigError, load_config
from ingle_lab.node.program import NodeProgram


async def _serve(config: Config) -> None:
    task = asyncio.ensure_future(NodeProgram(config).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ingle_lab.node", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file: nodes, images, lab_dir")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_serve(load_config(parser.parse_args().config)))
    except (ConfigError, OSError) as error:
        print(f"ingle_lab.node: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
