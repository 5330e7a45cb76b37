"""`ingle-router`: the endpoint picker and the waiting room. `envoy-config` prints Envoy's part, `leave` tells Envoy to go."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import logging
import sys

import yaml
from pydantic import ValidationError

from ingle_router.envoy import bootstrap
from ingle_router.leave import leave
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
    commands.add_parser("leave", help="ask Envoy's clients to go, for this pod is to end")
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
    if command == "leave":
        sys.exit(_leave(settings.envoy_admin))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(settings))


def _leave(socket_path: str) -> str | None:
    """Why Envoy was not told; None when it was."""
    if not socket_path:
        return "ingle-router: INGLE_ENVOY_ADMIN: Envoy has no admin interface to tell it by"
    try:
        leave(socket_path)
    except (OSError, http.client.HTTPException) as error:
        return f"ingle-router: Envoy was not told to let its clients go: {error}"
    return None


if __name__ == "__main__":
    main()
