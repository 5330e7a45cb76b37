"""The story of one pod for people. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from rich.text import Text

from ingle_cli.explain.placing import Placing
from ingle_cli.explain.read import events_table
from ingle_cli.explain.reason import meanings
from ingle_cli.objects import Object, seconds_since
from ingle_cli.text import SPARE, Shown, age, ago, paragraph, plural, short_gpu, table, title
from ingle_core.facts import GpuNode
from ingle_core.placement import Ask
from ingle_kit.names import ANNOTATION_GPUS, ANNOTATION_PLACEMENT, GATE_AWAKE

_OWN = "without what the scheduler promised to other pods in the last seconds"


@dataclass(frozen=True)
class Story:
    """What is known of a pod. `told`: the extender's answer. `claim_on`: the node whose ledger has its claim.

    `foreign`: Ingle does not place it. `wrong`: what is wrong with its placement annotation.
    """

    pod: Object
    engine: Object | None = None
    events: list[Object] | None = None
    told: dict[str, Any] | None = None
    ask: Ask | None = None
    wrong: str = ""
    claim_on: GpuNode | None = None
    placing: Placing | None = None
    by_scheduler: bool = False
    foreign: bool = False

    def having(self, **changes: Any) -> Story:
        return replace(self, **changes)


def pod_text(story: Story, now_s: float) -> Shown:
    """What to print: state, ask, claim, last decision, verdict per node, events, meanings."""
    shown: Shown = [title(_headline(story.pod)), *(paragraph(line) for line in _state(story, now_s))]
    if story.foreign:
        name = story.pod["spec"].get("schedulerName") or "default-scheduler"
        return [*shown, paragraph(f"Ingle does not place it: its schedulerName is {name}.")]
    shown += [paragraph(line) for line in (*_ask(story), *_claim(story, now_s), *_last(story, now_s))]
    shown += _placing(story)
    shown += events_table(story.events, now_s)
    return [*shown, *meanings(_reasons(story))]


def _headline(pod: Object) -> str:
    metadata, status = pod["metadata"], pod.get("status") or {}
    node = pod["spec"].get("nodeName")
    gpus = (metadata.get("annotations") or {}).get(ANNOTATION_GPUS, "")
    on = f" on {node}" if node else ""
    cards = f", {', '.join(short_gpu(gpu) for gpu in gpus.split(','))}" if gpus and node else ""
    return f"Pod {metadata['namespace']}/{metadata['name']}: {status.get('phase', 'Pending')}{on}{cards}"


def _state(story: Story, now_s: float) -> list[str]:
    """Why it is not further, in the order in which a pod gets on."""
    pod, lines = story.pod, []
    status = pod.get("status") or {}
    said = {c["type"]: c for c in status.get("conditions") or ()}
    if pod["metadata"].get("deletionTimestamp"):
        lines.append("It is being deleted.")
    scheduled = said.get("PodScheduled")
    if scheduled and scheduled["status"] == "False":
        lines.append(f"kube-scheduler says: {scheduled.get('message') or scheduled.get('reason')}")
    if status.get("message") or status.get("reason"):
        lines.append(": ".join(str(status[key]) for key in ("reason", "message") if status.get(key)))
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        stopped = state.get("waiting") or state.get("terminated")
        if stopped:
            code = f", exit code {stopped['exitCode']}" if "exitCode" in stopped else ""
            lines.append(
                f"Container {container['name']}: {stopped.get('reason', '')}{code} {stopped.get('message', '')}"
            )
    gate = said.get(GATE_AWAKE)
    if gate and gate["status"] == "False":
        lines.append(f"Not awake: {gate.get('reason', '')} {gate.get('message', '')}".rstrip())
    engine = story.engine
    if engine:
        why = ": ".join(str(engine[key]) for key in ("reason", "message") if engine.get(key))
        since = age(seconds_since(engine.get("since"), now_s))
        lines.append(f"Its pool says: {engine['state']} since {since}" + (f"; {why}" if why else ""))
    return lines


def _ask(story: Story) -> list[str]:
    ask = story.ask
    if story.wrong:
        return [f"Its annotation {ANNOTATION_PLACEMENT} cannot be read: {story.wrong}"]
    if ask is None:
        return [
            f"It has no annotation {ANNOTATION_PLACEMENT}: the scheduler goes by its resource amount alone."
        ]
    memory = ask.memory_mib
    products = " or ".join(ask.products) or "any product"
    of = f" ({ask.pool}, {ask.variant})" if ask.pool else ""
    return [
        f"Asks{of}: {ask.gpus} × {memory.awake} MiB awake and {ask.watts} W per GPU; asleep {memory.asleep} MiB per"
        f" GPU and {memory.host} MiB of host memory; {products}; NUMA {ask.numa}, NVLink {ask.nvlink},"
        f" {ask.strategy}{SPARE if ask.spare else ''}"
    ]


def _claim(story: Story, now_s: float) -> list[str]:
    uid, node = story.pod["metadata"]["uid"], story.claim_on
    holder = node.spec.holder(uid) if node else None
    if node is None or holder is None:
        return []
    claims = [c for gpu in node.spec.gpus for c in gpu.claims if c.pod_uid == uid]
    gpus = ", ".join(short_gpu(gpu) for gpu in node.spec.gpus_of(uid)) or "no GPU"
    memory, watts = sum(c.memory_mib for c in claims), sum(c.watts for c in claims)
    since = age(seconds_since(holder.at, now_s))
    return [f"Holds on {node.metadata.name}: {memory} MiB, {watts} W on {gpus}, {holder.state} since {since}"]


def _last(story: Story, now_s: float) -> list[str]:
    lines = []
    for step, one in ((story.told or {}).get("last") or {}).items():
        chosen = f"chose {one['node']}" if one.get("node") else "found no node"
        text = f": {one['text']}" if one.get("text") else ""
        lines.append(f"The scheduler's last {step}, {ago(seconds_since(one['at'], now_s))}, {chosen}{text}")
    return lines


def _placing(story: Story) -> Shown:
    placing = story.placing
    if placing is None:
        return []
    source = "seen by the scheduler" if story.by_scheduler else f"from API objects, {_OWN}"
    here = story.pod["spec"].get("nodeName")
    shown: Shown = [Text(""), title(f"{_question(story, placing)} ({source})")]
    if not placing.nodes:
        return [*shown, paragraph("There are no GPUNodes: no agent has reported from a node with GPUs yet.")]
    taken = here or placing.node
    rows = [("→" if one.node == taken else " ", one.node, one.reason, one.why) for one in placing.nodes]
    shown.append(table(("", "NODE", "VERDICT", "WHY"), rows, fold="WHY"))
    if placing.left_out:
        shown.append(paragraph(f"… {plural(placing.left_out, 'node')} more"))
    return shown


def _question(story: Story, placing: Placing) -> str:
    here, ask = story.pod["spec"].get("nodeName"), story.ask
    prefers = "the fullest GPUs that fit" if ask is None or ask.strategy == "Pack" else "the emptiest GPUs"
    if here and here == placing.node:
        return f"WHY HERE: asked again now, it would go to {here}; {prefers} win"
    if here:
        again = placing.node or "nowhere"
        return f"WHY HERE: it fitted when it was bound; asked again now, it would go to {again}"
    if placing.node:
        return f"WHY PENDING: {placing.node} fits now; it waits for kube-scheduler's next try"
    found = Counter(one.reason for one in placing.nodes)
    counts = ", ".join(f"{n} × {reason}" for reason, n in found.most_common())
    return f"WHY PENDING: no node fits: {counts or 'no nodes'}"


def _reasons(story: Story) -> list[str]:
    verdicts = [one.reason for one in story.placing.nodes] if story.placing else []
    engine = story.engine or {}
    silent = {"Fits", "Outranked", "AwaitingPlacement"}  # this very answer says more
    return [name for name in (engine.get("reason") or "", *verdicts) if name and name not in silent]
