"""Exporter health: whether what the other boards and the alerts show can be believed."""

from __future__ import annotations

from dashboards.common import ALERTS, EXPORTER_STARTS, NODE_STARTS, choices
from dashboards.model import Board, Row, Unit
from dashboards.panels import Column, bars, graph, heatmap, stat, table, timeline
from dashboards.signals import exporters as signals

_EACH = "(chain, job, instance)"
_SCRAPED = "last_over_time(chainwatch_build_info{*}[1d])"  # a dead exporter keeps its row for a day
_FAILING = ((None, "text"), (1, "red"))

EXPORTERS = table(
    "Exporters",
    "One row for each exporter of the last day. Normal: scraped, answered, all collectors work, all streams are open.",
    (
        Column(title="Exporter", label="instance", width=140),
        Column(title="Job", label="job", width=75),
        Column(title="Chain", label="chain"),
        Column(
            title="Scraped",
            width=75,
            expr=f"max by (job, instance) (up{signals.TARGETS} and on (job) group by (job) ({_SCRAPED}))",
            mappings={1: ("yes", "green"), 0: ("NO", "red")},
        ),
        Column(
            title="Answers",
            width=75,
            expr=f"max by {_EACH} (chainwatch_up{{*}})",
            mappings={1: ("yes", "green"), 0: ("NO", "red")},
        ),
        Column(
            title="Collectors failing",
            width=130,
            expr=f"sum by {_EACH} (1 - chainwatch_collector_success{{*}})",
            levels=_FAILING,
        ),
        Column(
            title="Streams closed",
            width=115,
            expr=f"sum by {_EACH} (1 - chainwatch_stream_connected{{*}})",
            levels=_FAILING,
        ),
        Column(
            title="Settings",
            width=75,
            expr=f"max by {_EACH} (chainwatch_config_last_reload_successful{{*}})",
            mappings={1: ("in force", None), 0: ("REFUSED", "red")},
        ),
        Column(
            title="Scrape time",
            width=90,
            expr=f"max by (job, instance) (scrape_duration_seconds{signals.TARGETS} {signals.OF_EXPORTERS})",
            unit=Unit.SECONDS,
        ),
        Column(
            title="CPU",
            width=70,
            expr=f"max by {_EACH} (rate(process_cpu_seconds_total{{*}}[$__rate_interval]))",
            unit=Unit.RATIO,
        ),
        Column(title="Memory", width=75, expr=f"max by {_EACH} (process_resident_memory_bytes{{*}})", unit=Unit.BYTES),
        Column(title="Version", width=65, label="version"),
        Column(
            title="Started",
            width=125,
            expr="max by (chain, job, instance, version) (process_start_time_seconds{*} * 1000"
            " * on (job, instance) group_left (version) chainwatch_build_info{*})",
            unit=Unit.AGO,
        ),
    ),
    height=7,
    sort="Exporter",
)

COLLECTORS = table(
    "Collectors",
    "One row for each collector, over all chosen exporters. Normal: none fails; one without support is met by a node "
    "whose version or build cannot answer.",
    (
        Column(title="Collector", label="collector", width=150),
        Column(title="Job", label="job", width=75),
        Column(title="Exporters", width=85, expr="count by (job, collector) (chainwatch_collector_success{*})"),
        Column(
            title="Failing",
            width=70,
            expr="sum by (job, collector) (1 - chainwatch_collector_success{*})",
            levels=_FAILING,
        ),
        Column(
            title="Without support", width=120, expr="sum by (job, collector) (1 - chainwatch_collector_supported{*})"
        ),
        Column(
            title="Slowest",
            width=85,
            expr="max by (job, collector) (chainwatch_collector_duration_seconds{*})",
            unit=Unit.SECONDS,
        ),
    ),
    width=12,
    height=10,
    sort="Slowest",
    descending=True,
)

BOARD = Board(
    uid="chainwatch-exporters",
    title="Exporter health",
    folder="chainwatch",
    description="Whether exporters are scraped, read all they ask for, hear their nodes, and keep within their means.",
    variables=choices("chainwatch_build_info"),
    annotations=(ALERTS, NODE_STARTS, EXPORTER_STARTS),
    rows=(
        Row(
            "Now",
            (
                stat(signals.TARGETS_DOWN, 8, 3),
                stat(signals.COLLECTORS_FAILING, 8, 3),
                stat(signals.STREAMS_CLOSED, 8, 3),
                stat(signals.CALLS_FAILED, 8, 3),
                stat(signals.SETTINGS_REFUSED, 8, 3),
                stat(signals.RESTARTS, 8, 3),
                EXPORTERS,
                timeline(signals.TARGET_STATES, 12, 9),
                timeline(signals.STREAM_STATES, 12, 9),
                graph(signals.SCRAPE_DURATION, 8),
                graph(signals.LATENCY, 8),
                graph(signals.FAILURES_BY_REASON, 8, stacked=True, steps=True),
            ),
        ),
        Row(
            "Collectors",
            (
                COLLECTORS,
                graph(signals.COLLECTOR_TIME, 12, 10),
                bars(signals.COLLECTORS_FAILING_OVER_TIME, 12),
                graph(signals.SAMPLES, 12),
            ),
            folded=True,
        ),
        Row(
            "Calls to the node",
            (
                graph(signals.CALLS),
                graph(signals.CALLS_BY_METHOD),
                bars(signals.FAILURES_BY_METHOD),
                graph(signals.LATENCY_BY_METHOD, 12),
                heatmap(signals.LATENCY_SPREAD, 12, 7),
            ),
            folded=True,
        ),
        Row(
            "Streams and logs",
            (
                graph(signals.STREAM_BEHIND, 12),
                graph(signals.STREAM_SILENCE, 12),
                bars(signals.STREAM_GAPS),
                graph(signals.FRAMES),
                bars(signals.FRAMES_LOST),
                bars(signals.CANCELLATIONS, logs={"event": "slow_client"}),
                graph(signals.LOG_LINES, logs={}),
                graph(signals.LOG_BYTES),
            ),
            folded=True,
        ),
        Row(
            "Processes",
            (
                graph(signals.CPU, 12),
                graph(signals.MEMORY, 12),
                graph(signals.FILES, 12),
                graph(signals.SETTINGS_AGE, 12),
            ),
            folded=True,
        ),
        Row(
            "Prometheus and Alertmanager",
            (
                bars(signals.RULES_FAILING),
                bars(signals.NOTICES_FAILED),
                graph(signals.TARGETS_KNOWN, steps=True),
            ),
            folded=True,
        ),
    ),
)
