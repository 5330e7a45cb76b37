"""`make demo REAL=1`: the main lines of the demonstration on a real node, from `helm install` to the uninstall."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ingle_lab.controlplane import ControlPlaneError
from ingle_lab.controlplane import build as build_control_plane
from ingle_lab.helm import build as build_helm
from ingle_lab.images import build_archive
from ingle_lab.realnode import RealNode, binaries, preflight

from . import fence, removal
from .cluster import SYSTEM, Cluster, first_pool
from .conftest import VALUES, make_namespace, make_runtime_class
from .gpus import used_mib

CANNOT = 3


class Show:
    """Lines for people, with the seconds since the command was typed."""

    def __init__(self, console: Console, started_at_s: float) -> None:
        self._console, self._started_at_s = console, started_at_s

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{time.time() - self._started_at_s:6.1f} s[/dim]  {text}", highlight=False)

    def head(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]", highlight=False)


def short_lived_pool() -> dict[str, object]:
    """The first pool, asleep after a few idle seconds."""
    pool = first_pool()
    pool["spec"]["replicas"] = {"min": 0, "max": 1}
    pool["spec"]["warm"] = {"asleep": 1, "idleSeconds": 5}
    return pool


def states(cluster: Cluster) -> set[str]:
    """Of engines, in the node's ledger."""
    return {pod["state"] for node in cluster.items("gpunodes") for pod in node["spec"].get("pods") or ()}


def install(show: Show, cluster: Cluster, node: RealNode) -> None:
    """1. Helm, the chart, a pool, an answer."""
    show.head("1. helm install on a real kubelet and containerd (GPUs and engines are simulated)")
    started_s = time.monotonic()
    cluster.helm("install", "--create-namespace", values=VALUES)
    cluster.apply(short_lived_pool())
    cluster.until("the first answer", lambda: cluster.answering("first"), 180)
    show.say(f"the pool `first` answers {time.monotonic() - started_s:.1f} s after `helm install`")
    for pod in sorted(cluster.items("pods", "-n", SYSTEM), key=lambda p: str(p["metadata"]["name"])):
        show.say(f"{pod['metadata']['name']}: {pod['status']['phase']} at {pod['status'].get('podIP', '')}")


def sleep_and_wake(show: Show, cluster: Cluster, node: RealNode) -> None:
    """2. The engine sleeps, its memory drops, a request wakes it."""
    show.head("2. The engine sleeps; a request that is held meanwhile wakes it")
    awake_mib = sum(used_mib(node).values())
    cluster.until("the engine to sleep", lambda: states(cluster) == {"Asleep"}, 120)
    cluster.until("its memory to drop", lambda: sum(used_mib(node).values()) < awake_mib / 4, 30)
    show.say(f"the GPUs hold {sum(used_mib(node).values())} MiB asleep, {awake_mib} MiB awake")
    for name in ("asleep", "hot"):
        answer = cluster.ask("first")
        if not answer.good:
            raise AssertionError(f"{name}: status {answer.status} {answer.fault} {answer.message}")
        show.say(f"{name:7} {answer.first_token_s:6.3f} s to the first token")


def power_cut(show: Show, cluster: Cluster, node: RealNode) -> None:
    """3. A budget comes; limits in the firmware go down; it ends and they go back."""
    show.head("3. A PowerBudget is put on the node, and taken away")
    started_s = time.monotonic()
    own_w = removal.cap(cluster, node)
    took_s = time.monotonic() - started_s
    show.say(
        f"limits of all GPUs: {sum(own_w):.0f} W before, {sum(removal.limits_w(node)):.0f} W {took_s:.1f} s after"
    )
    if not cluster.ask("first").good:
        raise AssertionError("the pool does not answer under the budget")
    show.say("the pool answers under the budget")
    removal.uncap(cluster, node, own_w)
    show.say("budget deleted: every GPU has its own limit again")


def hold(show: Show, cluster: Cluster, node: RealNode) -> None:
    """4. The node is managed: a holder pod keeps others away."""
    show.head("4. The node is managed: others that ask for a GPU wait")
    fence.raise_up(cluster)
    (holder,) = fence.holders(cluster)
    show.say(f"the kubelet gave all GPUs of the device plugin to {holder['metadata']['name']}")
    fence.ask_for_a_gpu(cluster)
    cluster.until("the other pod to wait", lambda: fence.waits(cluster), 30)
    show.say(f"pod {fence.TEAM}/{fence.NAME}: Pending, the default scheduler finds no {fence.GPU}")


def uninstall(show: Show, cluster: Cluster, node: RealNode) -> None:
    """5. Nothing stays, and the GPUs are others' again."""
    show.head("5. helm uninstall")
    removal.uninstall(cluster)
    show.say("nothing of the release is left but the four kinds, which say `keep`")
    cluster.until("the waiting pod to run", lambda: fence.runs(cluster), 60)
    show.say(f"pod {fence.TEAM}/{fence.NAME} runs")
    fence.forget(cluster)
    removal.delete_spaces_and_kinds(cluster)
    show.say("namespaces and kinds are gone")


LINES: tuple[Callable[[Show, Cluster, RealNode], None], ...] = (
    install,
    sleep_and_wake,
    power_cut,
    hold,
    uninstall,
)


@contextmanager
def real_node(show: Show) -> Iterator[RealNode]:
    """Ready, and this process in its network."""
    build_control_plane()
    binaries.build()
    lab = Path(tempfile.mkdtemp(prefix="ingle-real-"))
    node = RealNode(lab, [build_archive(lab)], say=show.say)
    try:
        node.start()
        node.enter_network()
        yield node
    finally:
        node.stop()
        shutil.rmtree(lab, ignore_errors=True)


def main() -> int:
    """Exit code: 0 all lines shown, 1 one did not hold, 3 this machine cannot run it."""
    if reasons := preflight.reasons():
        print("make demo REAL=1 cannot run here: " + " ".join(reasons), file=sys.stderr)
        return CANNOT
    console = Console(width=None if sys.stdout.isatty() else 140, soft_wrap=True)
    show = Show(console, float(os.environ.get("INGLE_DEMO_STARTED_AT") or time.time()))
    try:
        with real_node(show) as node:
            cluster = Cluster(node.kubectl, build_helm() / "helm", node.kubeconfig)
            make_runtime_class(cluster)
            make_namespace(cluster)
            show.say("the node is Ready")
            for line in LINES:
                line(show, cluster, node)
    except (AssertionError, ControlPlaneError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
