"""Alerts, dashboard and what Prometheus is told: they use metrics that our processes have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROCESSES = ("operator", "extender", "router", "agent")

_METRIC = re.compile(r"\b((?:ingle|DCGM_FI)_[A-Za-z_]+)")


def published() -> set[str]:
    """Names of metrics in the sources of the four processes."""
    text = "".join((ROOT / f"{name}/ingle_{name}/metrics.py").read_text() for name in PROCESSES)
    names = set(re.findall(r'"(?:f")?((?:ingle|DCGM_FI)_\w+)"', text))
    names |= {f"ingle_router_{name}" for name in re.findall(r'_counter\(\s*"(\w+)"', text)}
    return names


def plain(metric: str) -> str:
    return re.sub(r"_(total|bucket|count|sum)$", "", metric)


def test_alerts_and_dashboard_use_metrics_that_there_are(helm: Any, branches: Any) -> None:
    rendered = helm.render(branches["monitored"])
    rules = rendered.one("PrometheusRule", "ingle")["spec"]["groups"][0]["rules"]
    panels = json.loads(rendered.one("ConfigMap", "ingle-dashboard")["data"]["ingle.json"])["panels"]
    queries = [rule["expr"] for rule in rules] + [t["expr"] for panel in panels for t in panel["targets"]]
    used = {plain(metric) for query in queries for metric in _METRIC.findall(query)}
    assert len(used) > 10
    assert used <= published()


def test_alerts_say_what_to_do_and_panels_do_not_overlap(helm: Any, branches: Any) -> None:
    rendered = helm.render(branches["monitored"])
    rules = rendered.one("PrometheusRule", "ingle")["spec"]["groups"][0]["rules"]
    assert all({"summary", "description"} == rule["annotations"].keys() for rule in rules)
    panels = json.loads(rendered.one("ConfigMap", "ingle-dashboard")["data"]["ingle.json"])["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))


def test_monitoring_is_off_by_default(helm: Any) -> None:
    kinds = {obj["kind"] for obj in helm.render({}).objects}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
