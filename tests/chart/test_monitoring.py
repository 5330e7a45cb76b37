"""Alerts, recorded rates, dashboard and the page of metrics: they use metrics and labels that our processes have."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.generate.dashboard import dashboard_text
from charts.generate.metrics import Named, metrics_text, published

from ingle_lab.prometheus import promtool_path

ROOT = Path(__file__).parents[2]
FROM_PROMETHEUS = {"pod", "namespace", "job", "instance", "component", "le"}

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_WORDS = frozenset(("sum", "max", "histogram_quantile", "rate", "increase", "vector", "or", "and", "unless"))


def metrics_in(query: str) -> set[str]:
    """Names of series in an expression: what is no function, label, number, text or duration."""
    bare = re.sub(r"\[[^\]]*\]", "", _TEXT.sub('""', query))
    bare = re.sub(r"\{[^}]*\}", "", _GROUPING.sub("", bare))
    return set(_NAME.findall(bare)) - _WORDS


def labels_in(query: str) -> set[str]:
    """Labels that an expression selects or groups by."""
    bare = _TEXT.sub('""', query)
    grouped = {name for group in _GROUPING.findall(bare) for name in _NAME.findall(group)}
    chosen = {name for _, inside in _SELECTOR.findall(bare) for name in _NAME.findall(inside)}
    return grouped | chosen


@pytest.fixture(scope="module")
def known() -> dict[str, Named]:
    """Every series of our processes by name; histograms by each of their three."""
    found: dict[str, Named] = {}
    for metrics in published().values():
        for metric in metrics:
            ends = ("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",)
            found |= {metric.name + end: metric for end in ends}
    return found


@pytest.fixture(scope="module")
def groups(helm: Any, branches: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = helm.render(branches["monitored"]).one("PrometheusRule", "ingle")["spec"][
        "groups"
    ]
    return found


@pytest.fixture(scope="module")
def panels(helm: Any, branches: Any) -> list[dict[str, Any]]:
    text = helm.render(branches["monitored"]).one("ConfigMap", "ingle-dashboard")["data"]["ingle.json"]
    assert json.loads(text) == json.loads(dashboard_text())
    return [panel for panel in json.loads(text)["panels"] if panel["type"] != "row"]


def test_every_expression_names_series_and_labels_that_there_are(
    known: dict[str, Named], groups: list[dict[str, Any]], panels: list[dict[str, Any]]
) -> None:
    queries = [rule["expr"] for group in groups for rule in group["rules"]]
    queries += [target["expr"] for panel in panels for target in panel["targets"]]
    used = {name for query in queries for name in metrics_in(query)}
    assert len(used) > 20
    assert used <= known.keys()
    for query in queries:
        theirs = {label for name in metrics_in(query) for label in known[name].labels}
        assert labels_in(query) <= theirs | FROM_PROMETHEUS, query


def test_what_is_taken_for_a_series_is_one() -> None:
    query = 'histogram_quantile(0.5, sum by (le, a) (rate(x_bucket{b="c", d=~"$e"}[5m]))) / on () group_left () c:d:e > 0'
    assert metrics_in(query) == {"x_bucket", "c:d:e"}
    assert labels_in(query) == {"le", "a", "b", "d"}


def promtool(*words: object) -> str:
    """What it says. Fails where it finds fault."""
    done = subprocess.run(
        [promtool_path(), *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_itself_takes_every_expression(
    groups: list[dict[str, Any]], panels: list[dict[str, Any]], tmp_path: Path
) -> None:
    queries = [target["expr"].replace("$pool", ".*") for panel in panels for target in panel["targets"]]
    drawn = [{"record": f"panel:query{number}:now", "expr": query} for number, query in enumerate(queries)]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [*groups, {"name": "dashboard", "rules": drawn}]}))
    assert f"{len(queries) + sum(len(group['rules']) for group in groups)} rules found" in promtool(
        "check", "rules", rules
    )


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    inside = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def test_prometheus_records_the_rates_that_they_are_said_to_be(
    groups: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Two pools for an hour: one woken 54 times and started 6 times, the other never moved."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    actuated, found = "ingle_actuation_seconds_count", "ingle_requests_found_total"
    given = [
        series(actuated, "0+0.9x120", pool="a", path="hot"),
        series(actuated, "0+0.1x120", pool="a", path="cold"),
        series(actuated, "0+0x120", pool="a", path="warm"),
        series(actuated, "0+0x120", pool="b", path="hot"),
        series(found, "0+30x120", pool="a", found="hot"),
        series(found, "0+10x120", pool="b", found="asleep"),
    ]
    wanted = {
        "cluster:ingle_hot_hit_rate:ratio1h": [("", 0.9)],
        "cluster:ingle_warm_hit_rate:ratio1h": [("", 0.0)],
        "pool:ingle_hot_hit_rate:ratio1h": [('{pool="a"}', 0.9)],
        "cluster:ingle_requests_found:ratio5m": [('{found="hot"}', 0.75), ('{found="asleep"}', 0.25)],
        "pool:ingle_requests_found_hot:ratio5m": [('{pool="a"}', 1.0), ('{pool="b"}', 0.0)],
    }
    asked = [
        {
            "expr": f"round({record}, 0.001)",
            "eval_time": "90m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for record, samples in wanted.items()
    ]
    case = {"interval": "1m", "input_series": given, "promql_expr_test": asked}
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]})
    )
    assert "SUCCESS" in promtool("test", "rules", file)


def test_the_rates_have_the_field_s_names(groups: list[dict[str, Any]], known: dict[str, Named]) -> None:
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert {"cluster:ingle_hot_hit_rate:ratio1h", "cluster:ingle_warm_hit_rate:ratio1h"} <= records
    for name in ("ingle_actuation_seconds", "ingle_wake_seconds", "ingle_cold_start_seconds"):
        assert known[f"{name}_bucket"].type == "histogram"


def test_the_page_lists_every_metric_with_its_labels(known: dict[str, Named]) -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    for metric in known.values():
        assert f"| `{metric.name}` | {metric.type} |" in page
        assert metric.what.strip(), metric.name
    assert metrics_text().startswith(page.partition("\n")[0])


def test_alerts_say_what_to_do_and_panels_do_not_overlap(
    groups: list[dict[str, Any]], panels: list[dict[str, Any]]
) -> None:
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert all({"summary", "description"} == rule["annotations"].keys() for rule in alerts)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_monitoring_is_off_by_default(helm: Any) -> None:
    kinds = {obj["kind"] for obj in helm.render({}).objects}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
