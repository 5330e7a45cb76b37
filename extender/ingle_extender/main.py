"""`ingle-extender`: serves kube-scheduler; `ingle-extender scheduler-config` prints its configuration."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import Callable

import uvicorn
import uvloop

from ingle_extender.app import make_app
from ingle_extender.extender import Extender
from ingle_extender.scheduler_config import scheduler_config_yaml
from ingle_extender.settings import Settings
from ingle_kit.kube import Kube


async def serve(settings: Settings, make: Callable[[Kube, Settings], Extender] = Extender) -> None:
    """Runs what `make` gives until SIGTERM or SIGINT; a watch that ends by a bug ends the process."""
    async with Kube.connect(user_agent="ingle-extender", kubeconfig=settings.kubeconfig) as kube:
        extender = make(kube, settings)
        config = uvicorn.Config(
            make_app(extender),
            host=settings.listen,
            port=settings.extender_port,
            http="httptools",
            log_config=None,
            access_log=False,
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
    """What was read at the start stays: a look for garbage among it would hold up a filter call for 0.1 s."""
    await extender.ahead.done.wait()
    gc.collect()
    gc.freeze()


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
