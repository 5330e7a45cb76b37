"""`ingle`, also `kubectl ingle`: what the cluster's models do, and why. It only reads.

Exit codes: 0 answered; 1 there is no such object or reason, the pool would be refused, or something is wrong; 2 nobody could be
asked (wrong arguments, no kubeconfig, no connection, a right is missing): the reason is one sentence on stderr.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from importlib.metadata import version as version_of
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from ingle_cli import explain as explaining
from ingle_cli import replay as replaying
from ingle_cli import whatif as asking
from ingle_cli.access import CallersKube, Wish, connect
from ingle_cli.doctor import doctor as examine
from ingle_cli.failures import EXIT_UNKNOWN, Failure, failure
from ingle_cli.status import read_cluster, screen, summarise
from ingle_cli.text import Shown, clean, console, rendered
from ingle_cli.watch import watch as watching
from ingle_kit.kube import KubeError
from ingle_kit.whatif import REPLICAS_MAX

HELP = "What the cluster's models do, and why. Only reads, with your own kubeconfig and rights."
CODES = (
    "Exit codes: 0 answered, 1 no such object or reason, a pool that is refused, or (doctor) something is wrong, "
    "2 nobody could be asked (see stderr)."
)

Answer = tuple[Shown | str, Failure | None]

app = typer.Typer(
    name="ingle",
    help=HELP,
    epilog=CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
replay = typer.Typer(
    help="Recorded arrivals through the same decisions, on a virtual clock. Asks no cluster.",
    no_args_is_help=True,
)
app.add_typer(replay, name="replay")


class Output(StrEnum):
    """How `status` prints."""

    TEXT = "text"
    JSON = "json"


Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", help="Kubeconfig; else KUBECONFIG, else ~/.kube/config.")
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; else its own.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; else that of the context.")
]


@app.command(epilog=CODES)
def status(
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.TEXT,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every row, and every message.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """One screen: pools, nodes, budgets, policies, and who leads."""
    if everywhere and namespace:
        _stop(Failure("-n and -A exclude each other: give one of them."))

    async def ask(kube: CallersKube) -> Answer:
        where = None if everywhere else kube.namespace
        cluster, errors = await read_cluster(kube, where)
        missing = failure(errors, kube.server) if errors else None
        parts = (cluster.pools, cluster.nodes, cluster.budgets, cluster.policies, cluster.lease)
        if missing and all(part is None for part in parts):
            raise missing
        summary = summarise(cluster, namespace=where, now_s=time.time())
        if output is Output.JSON:
            return msgspec.json.format(msgspec.json.encode(summary), indent=2).decode(), missing
        return screen(summary, verbose=verbose), missing

    _run(Wish(kubeconfig, context, namespace), ask)


@app.command(epilog=CODES)
def explain(
    target: Annotated[
        str | None, typer.Argument(metavar="[pod/NAME | pool/NAME | node/NAME]", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="As in: explain node NAME.", show_default=False)
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="REASON", help="What a reason means, e.g. InsufficientWatts."),
    ] = None,
    asks: Annotated[
        str | None,
        typer.Option("--ask", metavar="[GPUSx]MIB", help="A node: would it take this, e.g. 2x40000?"),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="A node: text or json.")] = Output.TEXT,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Why a pod is where it is, or nowhere; why a pool or a node is as it is; what a reason means."""
    try:
        if code is not None and target is None:
            _print(explaining.reason_text(code))
            return
        if target is None or code is not None:
            raise Failure("Say what to explain: pod/NAME, pool/NAME, node/NAME, or --code REASON alone.")
        meant = target if name is None else f"{target}/{name}"
        wanted = None if asks is None else explaining.parse_ask(asks)
        explainer, short = explaining.parse_target(meant, ask=wanted, as_json=output is Output.JSON)
    except Failure as problem:
        _stop(problem)

    async def ask(kube: CallersKube) -> Answer:
        return await explainer(kube, short, time.time())

    _run(Wish(kubeconfig, context, namespace), ask)


@app.command(epilog=CODES)
def watch(
    pool: Annotated[str, typer.Argument(metavar="POOL", show_default=False)],
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """A pool as it changes: tiers, waiting requests, decisions. One line a change on a pipe; ends with Ctrl-C."""

    async def ask(kube: CallersKube) -> Answer:
        await watching(kube, pool.removeprefix("pool/"), console())

    try:
        _run(Wish(kubeconfig, context, namespace), ask)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter complains at its end
        raise typer.Exit(0) from None


@app.command(epilog=CODES)
def doctor(
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Whether all of Ingle is there and runs, and what to do where not."""

    async def ask(kube: CallersKube) -> Answer:
        shown, good = await examine(kube, time.time(), as_json=output is Output.JSON)
        return shown, None if good else Failure("Something is wrong: see above.", EXIT_UNKNOWN)

    _run(Wish(kubeconfig, context), ask)


@app.command(epilog=CODES)
def whatif(
    file: Annotated[str, typer.Option("--filename", "-f", help="File with an InferencePool; - is stdin.")],
    pool: Annotated[str | None, typer.Option("--pool", help="Which, where the file has several.")] = None,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=1, max=REPLICAS_MAX, help="Engines; else those it would start."),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json.")] = Output.TEXT,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Where a pool's engines would go if it were applied now, and what would give way. Writes nothing."""
    try:
        wanted = asking.read_pool(file, pool)
    except Failure as problem:
        _stop(problem)

    async def ask(kube: CallersKube) -> Answer:
        return await asking.whatif(kube, wanted, replicas, time.time(), as_json=output is Output.JSON)

    _run(Wish(kubeconfig, context, namespace), ask)


@replay.command("placement", epilog=CODES)
def replay_placement(
    trace: Annotated[Path, typer.Option("--trace", help="Folder of the trace alibaba-openb-2023.")],
    pods: Annotated[str, typer.Option("--list", help="Which list of pods, e.g. gpushare40.")] = "default",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="How many shuffles.")] = 1,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="ingle, fgd, best-fit; may be given again; else all.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the curves here, an .svg.")] = None,
) -> None:
    """Real arrivals through the scheduler's own choice: % of all GPUs allocated, beside others' policies."""
    wanted = replaying.Wanted(trace, pods, seeds, tuple(dict.fromkeys(policy or replaying.POLICIES)), picture)
    try:
        _print(replaying.replayed(wanted, console(sys.stderr)))
    except Failure as problem:
        _stop(problem)


@replay.command("warm", epilog=CODES)
def replay_warm(
    trace: Annotated[
        Path,
        typer.Option("--trace", help="Folder of alibaba-genai-2026 or azure-functions-2019-derived."),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help=f"{', '.join(replaying.WARM_POLICIES)}; may be given again; else all."),
    ] = None,
    slots: Annotated[int, typer.Option("--slots", min=1, help="GPU slots that the models share.")] = 8,
    sleepers: Annotated[int, typer.Option("--sleepers", min=0, help="Models that may sleep beside.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Deals the load times out to the models.")] = 0,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the curves here, an .svg.")] = None,
) -> None:
    """Real requests through the keep-alive strategies, simulated: who finds its model cold, and waits how long."""
    wanted = replaying.WarmWanted(trace, tuple(dict.fromkeys(policy or ())), slots, sleepers, seed, picture)
    try:
        _print(replaying.replayed_warm(wanted, console(sys.stderr)))
    except Failure as problem:
        _stop(problem)


@app.command()
def version() -> None:
    """The version of this command."""
    sys.stdout.write(f"ingle {version_of('ingle')} (Python {platform.python_version()})\n")


def _run(wish: Wish, ask: Callable[[CallersKube], Awaitable[Answer]]) -> None:
    """Asks, prints the answer, and ends with the exit code of what could not be read."""

    async def asked() -> Answer:
        kube = await connect(wish)
        async with kube:
            try:
                return await ask(kube)
            except KubeError as error:
                raise failure([error], kube.server) from error

    try:
        shown, missing = asyncio.run(asked())
    except Failure as problem:
        _stop(problem)
    _print(shown)
    if missing is not None:
        _stop(missing)


def _print(shown: Shown | str) -> None:
    sys.stdout.write(f"{shown}\n" if isinstance(shown, str) else rendered(shown, console()))


def _stop(problem: Failure) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"ingle: {clean(problem.sentence)}\n")
    raise typer.Exit(problem.code)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without `…` shows `?`
    app()


if __name__ == "__main__":
    main()
