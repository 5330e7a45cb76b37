"""The live table: pools and nodes, redrawn while the stack is up."""

from __future__ import annotations

import asyncio

from rich.console import Group
from rich.live import Live
from rich.table import Table

from ingle_lab.demo.scene import Scene

PERIOD_S = 1.0


async def show_table(scene: Scene) -> None:
    """Until cancelled. Without a terminal it prints the table once and waits."""
    scene.head("The stack is up; Ctrl-C stops every process")
    kubectl = f"{scene.stack.lab}/bin/kubectl --kubeconfig {scene.stack.lab}/kubeconfig"
    body = '{"model":"llama-8b","stream":true,"messages":[{"role":"user","content":"hello"}]}'
    scene.say(f"{kubectl} get ipool,rpol,pbud,gpun -A")
    scene.say(f"export TOKEN=$({kubectl} -n chat create token team --audience ingle.dev)")
    url = f"{scene.stack.gateway}/v1/chat/completions"
    scene.say(f"curl -N {url} -H \"Authorization: Bearer $TOKEN\" -d '{body}'")
    if not scene.console.is_terminal:
        scene.console.print(tables(scene))
        await asyncio.Event().wait()
    with Live(tables(scene), console=scene.console, refresh_per_second=2) as live:
        while True:
            await asyncio.sleep(PERIOD_S)
            live.update(tables(scene))


def tables(scene: Scene) -> Group:
    return Group(_pools(scene), _nodes(scene))


def _pools(scene: Scene) -> Table:
    table = Table("pool", "awake", "asleep", "starting", "wanted", "waiting", "ready", "why")
    for (_, name), pool in sorted(scene.pools.store.items()):
        status, counts = pool.get("status") or {}, scene.replicas(name)
        ready = scene.condition(name, "Ready")
        cells = [str(counts.get(key, 0)) for key in ("awake", "asleep", "starting", "wanted")]
        table.add_row(
            name, *cells, str(status.get("waiting", 0)), ready.get("status", "?"), ready.get("reason", "")
        )
    return table


def _nodes(scene: Scene) -> Table:
    table = Table("node", "claimed MiB", "used MiB (NVML)", "allotted W", "enforced W", "draw W")
    for (_, name), node in sorted(scene.gpu_nodes.store.items()):
        claimed = sum(c["memoryMiB"] for g in node["spec"]["gpus"] for c in g["claims"])
        row = scene.witness.latest(name) if scene.witness else {}
        table.add_row(
            name,
            str(claimed),
            str(sum(used or 0 for used in row.get("used", ())) >> 20),
            str(node["spec"].get("wattsAllotted", "-")),
            f"{sum(row.get('enforced_w', ())):.0f}",
            f"{sum(row.get('draw_w', ())):.0f}",
        )
    return table
