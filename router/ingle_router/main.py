"""`ingle-router`: the endpoint picker and the waiting room. `ingle-router envoy-config` prints Envoy's part."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import yaml
from pydantic import ValidationError

from ingle_router.envoy import bootstrap
from ingle_router.serve import serve
from ingle_router.settings import Settings


def main() -> None:
    """Reads the settings and runs. Exits 2 where a setting is wrong."""
    parser = argparse.ArgumentParser(prog="ingle-router", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="run the router (default)")
    commands.add_parser(
        "envoy-config", help="print the Envoy bootstrap that belongs to these settings, as YAML"
    )
    command = parser.parse_args().command
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            where = "INGLE_" + "_".join(map(str, problem["loc"])).upper() if problem["loc"] else "settings"
            print(f"ingle-router: {where}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    if command == "envoy-config":
        print(yaml.safe_dump(bootstrap(settings), sort_keys=False), end="")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
