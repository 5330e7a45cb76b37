"""`explain pool/NAME`: conditions, engines, last events, and what the reasons mean."""

from __future__ import annotations

from rich.text import Text

from ingle_cli.access import CallersKube
from ingle_cli.enginerow import engine_row
from ingle_cli.explain.read import conditions_table, events_of, events_table, if_allowed, read_one
from ingle_cli.explain.reason import meanings
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import NOT_SEEN_TEXT, Object, verdict
from ingle_cli.status.summary import pool_line
from ingle_cli.text import Shown, paragraph, plural, table, title
from ingle_kit.kube import KubeError
from ingle_kit.names import INFERENCE_POOL


async def explain_pool(kube: CallersKube, name: str, now_s: float) -> tuple[Shown, Failure | None]:
    """What to print; the Failure says which right was missing for a part of it."""
    pool = await read_one(kube, INFERENCE_POOL, name, kube.namespace)
    errors: list[KubeError] = []
    events = await if_allowed(events_of(kube, pool, INFERENCE_POOL), errors)
    return pool_text(pool, events, now_s), failure(errors, kube.server) if errors else None


def pool_text(pool: Object, events: list[Object] | None, now_s: float) -> Shown:
    """Pure: objects to what is printed."""
    engines = (pool.get("status") or {}).get("engines") or []
    reasons = [c.get("reason", "") for c in (pool.get("status") or {}).get("conditions") or ()]
    reasons += [engine.get("reason") or "" for engine in engines]
    reasons += [event.get("reason") or "" for event in events or ()]
    return [
        *_head(pool),
        *conditions_table(pool, now_s),
        *_engines(engines, now_s),
        *events_table(events, now_s),
        *meanings(reasons),
    ]


def _head(pool: Object) -> Shown:
    line, spec = pool_line(pool), pool["spec"]
    replicas, warm = spec.get("replicas") or {}, spec.get("warm") or {}
    ready = verdict(pool, "Ready")
    text = {"True": "as it should be", "False": "not ready"}.get(ready.status, NOT_SEEN_TEXT)
    counts = f"{line.awake} awake ({line.wanted} wanted), {line.asleep} asleep, {line.starting} starting"
    bounds = f"awake between {replicas.get('min', 0)} and {replicas.get('max', 1)}"
    if replicas.get("fixed") is not None:
        bounds = f"fixed at {replicas['fixed']} awake"
    return [
        title(f"Pool {line.namespace}/{line.name} ({line.model}): {text}"),
        paragraph(f"{counts}; {plural(line.waiting, 'request')} held"),
        paragraph(
            f"{bounds}, {warm.get('asleep', 0)} kept asleep, to sleep after {warm.get('idleSeconds', 120)} s unused,"
            f" priority {spec.get('priority', 'Normal')}"
        ),
    ]


def _engines(engines: list[Object], now_s: float) -> Shown:
    if not engines:
        return [Text(""), Text("No engines.")]
    rows = [engine_row(engine, now_s) for engine in engines]
    heads = ("ENGINE", "STATE", "SINCE", "NODE", "GPUS", "REASON")
    messages = [
        paragraph(f"{engine['pod']}: {engine['message']}") for engine in engines if engine.get("message")
    ]
    return [Text(""), table(heads, rows, fold="GPUS"), *messages]
