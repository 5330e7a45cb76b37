"""charts/ingle/dashboards/ingle.json: Grafana's dashboard, by Grafana's own builders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import yaml
from charts.generate.copies import ROOT
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos, VariableRefresh, VariableSort

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
COLUMNS: Final = 24
POOL: Final = 'pool=~"$pool"'


@dataclass(frozen=True)
class Panel:
    """One panel: queries by legend, unit as Grafana names it. `kind`: a curve, or one figure."""

    title: str
    unit: str
    queries: dict[str, str]
    what: str = ""
    kind: Literal["curve", "figure"] = "curve"
    most: float | None = field(default=None)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return (6, 4) if self.kind == "figure" else (12, 8)


def quantile(share: float, histogram: str, by: str = "", where: str = "", over: str = "5m") -> str:
    """A quantile of a histogram, by a label."""
    labels = f"{by}, le" if by else "le"
    selector = f"{{{where}}}" if where else ""
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{selector}[{over}])))"


def recorded(name: str) -> str:
    """What a recording rule records, for panels that must not need the rule."""
    groups = yaml.safe_load((ROOT / "charts/ingle/files/records.yaml").read_text())
    return next(str(rule["expr"]) for group in groups for rule in group["rules"] if rule["record"] == name)


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Warmth": (
        Panel(
            "Hot hit rate, 1 h",
            "percentunit",
            {"": recorded("cluster:ingle_hot_hit_rate:ratio1h")},
            "Share of actuations that woke a sleeper.",
            "figure",
            1.0,
        ),
        Panel(
            "Warm hit rate, 1 h",
            "percentunit",
            {"": recorded("cluster:ingle_warm_hit_rate:ratio1h")},
            "Share of actuations that started where the weights lay on disk.",
            "figure",
            1.0,
        ),
        Panel(
            "Found awake, 5 min",
            "percentunit",
            {
                "": '(sum(rate(ingle_requests_found_total{found="hot"}[5m])) or vector(0))'
                " / (sum(rate(ingle_requests_found_total[5m])) > 0)"
            },
            "Share of requests that an engine took at once.",
            "figure",
            1.0,
        ),
        Panel("Waiting", "short", {"": "sum(ingle_router_waiting)"}, "Requests that are held now.", "figure"),
        Panel(
            "Requests by what they found",
            "reqps",
            {"{{found}}": f"sum by (found) (rate(ingle_requests_found_total{{{POOL}}}[1m]))"},
        ),
        Panel(
            "Actuations by path",
            "cps",
            {"{{path}}": f"sum by (path) (rate(ingle_actuation_seconds_count{{{POOL}}}[5m]))"},
        ),
        Panel(
            "Wanted awake until open, 95th percentile",
            "s",
            {"{{path}}": quantile(0.95, "ingle_actuation_seconds", "path", POOL, "1h")},
        ),
        Panel(
            "Wake call and cold start, 95th percentile",
            "s",
            {
                "wake": quantile(0.95, "ingle_wake_seconds", where=f'success="true", {POOL}', over="1h"),
                "cold start": quantile(0.95, "ingle_cold_start_seconds", where=POOL, over="1h"),
            },
        ),
        Panel("Engines by state", "short", {"{{state}}": "max by (state) (ingle_engines)"}),
        Panel(
            "Failed wakes",
            "cps",
            {"{{pool}}": f'sum by (pool) (rate(ingle_wake_seconds_count{{success="false", {POOL}}}[5m]))'},
        ),
    ),
    "Requests": (
        Panel(
            "Requests by outcome",
            "reqps",
            {"{{outcome}}": f"sum by (outcome) (rate(ingle_router_requests_total{{{POOL}}}[1m]))"},
        ),
        Panel(
            "Waiting for an engine",
            "short",
            {"{{pool}}": f"sum by (pool) (ingle_router_waiting{{{POOL}}})"},
        ),
        Panel(
            "Time held, 95th percentile",
            "s",
            {"{{pool}}": quantile(0.95, "ingle_router_hold_seconds", "pool", POOL)},
        ),
        Panel(
            "Requests on engines",
            "short",
            {"{{pool}}": f"sum by (pool) (ingle_router_in_flight{{{POOL}}})"},
        ),
    ),
    "Memory and power": (
        Panel(
            "Draw of GPUs",
            "watt",
            {
                "{{Hostname}}": "sum by (Hostname) (DCGM_FI_DEV_POWER_USAGE)",
                "{{Hostname}} limit": "sum by (Hostname) (DCGM_FI_DEV_ENFORCED_POWER_LIMIT)",
            },
        ),
        Panel("Memory of GPUs used", "mbytes", {"{{Hostname}}": "sum by (Hostname) (DCGM_FI_DEV_FB_USED)"}),
    ),
    "Processes": (
        Panel(
            "Time to choose an engine, 99th percentile",
            "s",
            {"picker": quantile(0.99, "ingle_router_picker_seconds")},
        ),
        Panel(
            "Time to choose a node, 99th percentile",
            "s",
            {"filter": quantile(0.99, "ingle_extender_filter_seconds")},
        ),
        Panel("Since the API server was heard", "s", {"{{pod}}": "max by (pod) (ingle_watch_age_seconds)"}),
        Panel("Operator's queue", "s", {"oldest": "max(ingle_queue_oldest_seconds)"}),
    ),
}


def dashboard_text() -> str:
    """The dashboard as JSON, for Grafana 10 and newer."""
    made = dashboard.Dashboard("Ingle").uid("ingle").tags(["ingle"]).refresh("30s").time("now-1h", "now")
    made.with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    made.with_variable(
        dashboard.QueryVariable("pool")
        .label("Pool")
        .datasource(SOURCE)
        .query("label_values(ingle_router_in_flight, pool)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )
    number, down = 1, 0
    for title, panels in ROWS.items():
        made.with_row(dashboard.Row(title).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=down)).id(number))
        number, down, across = number + 1, down + 1, 0
        for place, panel in enumerate(panels):
            wide, high = panel.size
            made.with_panel(_built(panel).id(number).grid_pos(GridPos(h=high, w=wide, x=across, y=down)))
            number, across = number + 1, across + wide
            if across >= COLUMNS or place == len(panels) - 1:
                across, down = 0, down + high
    return str(JSONEncoder(sort_keys=True, indent=2).encode(made.build())) + "\n"


def _built(panel: Panel) -> stat.Panel | timeseries.Panel:
    built: stat.Panel | timeseries.Panel
    if panel.kind == "figure":
        built = stat.Panel().graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.NONE)
        built.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        built = timeseries.Panel()
    built.title(panel.title).unit(panel.unit).datasource(SOURCE).min(0)
    if panel.what:
        built.description(panel.what)
    if panel.most is not None:
        built.max(panel.most)
    for place, (legend, expression) in enumerate(panel.queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + place))
        built.with_target(query.datasource(SOURCE))
    return built
