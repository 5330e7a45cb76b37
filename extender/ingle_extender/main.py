"""`ingle-extender`: serves kube-scheduler; `ingle-extender scheduler-config` prints its configuration."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable

import uvicorn
import uvloop

from ingle_extender import memory
from ingle_extender.app import make_app
from ingle_extender.extender import Extender
from ingle_extender.scheduler_config import scheduler_config_yaml
from ingle_extender.settings import Settings
from ingle_kit.kube import Kube

CONNECTIONS_MAX = 16
"""To the API server, four of them for watches: to open one takes both sides longer than to bind a pod over it."""


async def serve(settings: Settings, make: Callable[[Kube, Settings], Extender] = Extender) -> None:
    """Runs what `make` gives until SIGTERM or SIGINT; a watch that ends by a bug ends the process."""
    memory.keep_freed()
    async with Kube.connect(
        user_agent="ingle-extender", kubeconfig=settings.kubeconfig, connections_max=CONNECTIONS_MAX
    ) as kube:
        extender = make(kube, settings)
        config = uvicorn.Config(
            make_app(extender),
            host=settings.listen,
            port=settings.extender_port,
            http="httptools",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            limit_concurrency=256,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(work) for work in (*extender.watches(), _settle(extender))]
            await server.serve()
            for task in beside:
                task.cancel()


async def _settle(extender: Extender) -> None:
    await extender.ahead.done.wait()
    memory.settle()


def main() -> None:
    parser = argparse.ArgumentParser(prog="ingle-extender", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve kube-scheduler (the default)")
    commands.add_parser("scheduler-config", help="print the KubeSchedulerConfiguration")
    options = parser.parse_args()
    settings = Settings()
    if options.command == "scheduler-config":
        sys.stdout.write(scheduler_config_yaml(settings))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
