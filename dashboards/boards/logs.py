"""Logs: what the nodes wrote, and what the lines are about."""

from __future__ import annotations

from dataclasses import replace

from dashboards.common import MARKS
from dashboards.model import Board, Json, Panel, Row, Source, Unit, Variable
from dashboards.panels import Column, bars, graph, log_lines, stat, table, timeline
from dashboards.signals import exporters
from dashboards.signals import logs as signals

_COLORS = {"error": "red", "warning": "orange", "info": "green", "debug": "blue", "trace": "purple", "unknown": "text"}


def _in_colors(panel: Panel) -> Panel:
    """Each level in a colour of its own, the same at all times."""
    overrides: list[Json] = [
        {
            "matcher": {"id": "byName", "options": level},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for level, color in _COLORS.items()
    ]
    return replace(panel, overrides=tuple(overrides))


def _coarse(panel: Panel) -> Panel:
    """Steps wide enough for lines to be in each."""
    return replace(panel, points=150)


def _of_loki(panel: Panel) -> Panel:
    return replace(panel, signal=replace(panel.signal, source=Source.LOKI))


_SHOWN = log_lines(signals.THE_LINES, height=16)
_LINES = replace(_SHOWN, options={**_SHOWN.options, "showTime": False})  # each line begins with its time

EVENTS = _of_loki(
    table(
        "Events",
        "What the lines of the chosen time are about, and what they cost, by what is chosen above. A row without event "
        "has the lines that chainwatch does not know.",
        (
            Column(title="Job", label="job", width=110),
            Column(title="Category", label="category"),
            Column(title="Event", label="event"),
            Column(
                title="Lines",
                expr=f"sum by (job, category, event) (count_over_time({signals.LINES} [$__range]))",
                width=110,
            ),
            Column(
                title="Text",
                expr=f"sum by (job, category, event) (bytes_over_time({signals.LINES} [$__range]))",
                unit=Unit.BYTES,
                width=110,
            ),
        ),
        height=9,
        sort="Lines",
        descending=True,
    )
)

BOARD = Board(
    uid="chainwatch-logs",
    title="Logs",
    folder="chainwatch",
    description="What the nodes wrote, by level, category and event, and the lines themselves.",
    variables=(
        Variable(name="chain", query="label_values(chain)", source=Source.LOKI),
        Variable(name="job", query="label_values({*}, job)", source=Source.LOKI),
        Variable(name="instance", query="label_values({*}, instance)", source=Source.LOKI),
        Variable(name="level", query="label_values({*}, level)", source=Source.LOKI, all_value=".*"),
        Variable(name="category", query="label_values({*}, category)", source=Source.LOKI, all_value=".*"),
        Variable(name="event", query="label_values({*}, event)", source=Source.LOKI, all_value=".*"),
        Variable(name="search", query=None),
    ),
    annotations=MARKS,
    since="now-1h",
    rows=(
        Row(
            "Now",
            (
                stat(signals.ALL, 6, 3),
                stat(signals.ERRORS, 6, 3),
                stat(signals.WARNINGS, 6, 3),
                stat(signals.UNKNOWN, 6, 3),
                _in_colors(bars(signals.BY_LEVEL, 8, 6)),
                bars(signals.TROUBLE_BY_NODE, 8, 6),
                bars(signals.EVENTS_OF_TROUBLE, 8, 6),
                _LINES,
            ),
        ),
        Row(
            "Categories and events",
            (
                EVENTS,
                _coarse(graph(signals.BY_CATEGORY)),
                _coarse(graph(signals.BY_EVENT)),
                _coarse(graph(signals.BY_NODE)),
            ),
            folded=True,
        ),
        Row(
            "What the lines say",
            (
                bars(signals.REFUSED_TRANSACTIONS, 12),
                bars(signals.REFUSED_BLOCKS, 12),
                _coarse(graph(signals.SLOWEST_BLOCK)),
                bars(signals.TIMEOUTS),
                bars(signals.PEERS),
            ),
            folded=True,
        ),
        Row(
            "On the way",
            (
                _coarse(graph(signals.ARRIVED, 12)),
                graph(exporters.LOG_LINES, 12, title="Lines that the exporter read"),
                _coarse(graph(signals.ARRIVED_BYTES, 12)),
                timeline(signals.RATE_LIMITED, 12, 7),
            ),
            folded=True,
        ),
    ),
)
