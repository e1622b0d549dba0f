"""Builds the Grafana board: `python -m dashboards.build` (`make reference`).

A panel is a title, a unit and its queries; the board is drawn by Grafana's own library, so it stays importable. The
queries are asked of a real Prometheus in a test.
"""

from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

BOARD: Final = Path(__file__).with_name("callstream.json")
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
WIDTH, HEIGHT = 8, 8


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph: PromQL by legend."""

    title: str
    about: str
    queries: dict[str, str]
    unit: str = "short"


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Calls": (
        Panel(
            title="From a call's end to its row",
            about="What a person in the CRM waits for.",
            unit="s",
            queries={
                f"p{percent}": f"histogram_quantile(0.{percent}, "
                "sum by (le) (rate(callstream_call_end_to_row_seconds_bucket[$__rate_interval])))"
                for percent in (50, 95, 99)
            },
        ),
        Panel(
            title="Leads handed to the cloud",
            about="By what came of it.",
            unit="ops",
            queries={"{{outcome}}": "sum by (outcome) (rate(callstream_assignments_total[$__rate_interval]))"},
        ),
        Panel(
            title="Follow-ups",
            about="0 cannot tell, 1 interested, 2 not interested.",
            unit="ops",
            queries={
                "{{is_interested}}": "sum by (is_interested) (rate(callstream_follow_ups_total[$__rate_interval]))"
            },
        ),
    ),
    "Lag": (
        Panel(
            title="Records behind",
            about="From committed offsets.",
            queries={"{{consumergroup}}": "sum by (consumergroup) (kafka_consumergroup_lag)"},
        ),
        Panel(
            title="Seconds behind",
            about="Age of the oldest record that is not yet processed.",
            unit="s",
            queries={"{{consumergroup}}": "max by (consumergroup) (callstream_consumergroup_lag_seconds)"},
        ),
        Panel(
            title="Members, and groups that do not move",
            about="No members: nobody works. Not moving: records wait, nothing is committed.",
            queries={
                "{{consumergroup}}": "kafka_consumergroup_members",
                "{{consumergroup}} has not moved for": "callstream_consumergroup_stalled_seconds > 10",
            },
        ),
    ),
    "Flow": (
        Panel(
            title="Records consumed",
            about="By topic.",
            unit="ops",
            queries={"{{topic}}": "sum by (topic) (rate(callstream_records_consumed_total[$__rate_interval]))"},
        ),
        Panel(
            title="Observed jobs",
            about="What change detection made of them.",
            unit="ops",
            queries={"{{outcome}}": "sum by (outcome) (rate(callstream_observations_total[$__rate_interval]))"},
        ),
        Panel(
            title="Dead letters",
            about="What the dead letter topics hold.",
            queries={"{{topic}}": "callstream_dead_letters"},
        ),
    ),
    "Sink": (
        Panel(
            title="Rows",
            about="By what became of them: applied, stale, parked.",
            unit="ops",
            queries={
                "{{kind}} {{outcome}}": "sum by (kind, outcome) (rate(callstream_sink_rows_total[$__rate_interval]))"
            },
        ),
        Panel(
            title="Seconds of a flush",
            about="From its start to its commit.",
            unit="s",
            queries={
                f"p{percent}": f"histogram_quantile(0.{percent}, "
                "sum by (le) (rate(callstream_sink_flush_seconds_bucket[$__rate_interval])))"
                for percent in (50, 99)
            },
        ),
        Panel(
            title="Database errors, parked records",
            about="By SQLSTATE class. Parked records wait for their row.",
            queries={
                "class {{sqlstate_class}}": "sum by (sqlstate_class) "
                "(rate(callstream_database_errors_total[$__rate_interval]))",
                "parked": "max(callstream_sink_parked_records)",
            },
        ),
    ),
    "Roles": (
        Panel(
            title="Processes that answer",
            about="One per role, two for stream.",
            queries={"processes": 'sum(up{job="callstream"})'},
        ),
        Panel(
            title="Releases",
            about="Processes by role and release.",
            queries={"{{role}} {{version}}": "count by (role, version) (callstream_build_info)"},
        ),
        Panel(
            title="Rebalances",
            about="Changes of a process's share of its partitions. Lost: it was away for too long.",
            queries={"{{change}}": "sum by (change) (increase(callstream_rebalances_total[$__rate_interval]))"},
        ),
    ),
    "Cloud": (
        Panel(
            title="Calls of the cloud's API",
            about="By action.",
            unit="reqps",
            queries={"{{action}}": "sum by (action) (rate(callstream_cloud_calls_total[$__rate_interval]))"},
        ),
        Panel(
            title="Answers that are not OK",
            about="By code, throttling among them.",
            unit="reqps",
            queries={"{{code}}": 'sum by (code) (rate(callstream_cloud_calls_total{code!="OK"}[$__rate_interval]))'},
        ),
        Panel(
            title="Oldest listing",
            about="Of the tasks that are being called, the one that was listed longest ago.",
            unit="s",
            queries={"seconds": "max(callstream_oldest_listing_seconds)"},
        ),
    ),
}


def build() -> str:
    """Return the board as JSON that Grafana imports."""
    board = (
        dashboard.Dashboard("callstream")
        .uid("callstream")
        .tags(["kafka", "postgresql"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for title, panels in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(_drawn(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _drawn(panel: Panel) -> timeseries.Panel:
    drawn = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(WIDTH)
        .height(HEIGHT)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)  # noqa: FBT003 - the library's word
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for name, (legend, query) in zip(ascii_uppercase, panel.queries.items(), strict=False):
        drawn = drawn.with_target(prometheus.Dataquery().ref_id(name).expr(query).legend_format(legend))
    return drawn


if __name__ == "__main__":
    BOARD.write_text(build(), encoding="utf-8")
