"""How a signal looks: one function for each kind of panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace

from dashboards.model import Chosen, Json, Level, Mappings, Panel, Query, Signal, Unit

Lines = Chosen | None
_COLUMN_MIN_WIDTH = 80  # of a table's columns, in pixels


def stat(
    signal: Signal,
    width: int = 4,
    height: int = 4,
    *,
    in_lines: bool = False,
    logs: Lines = None,
    title: str | None = None,
) -> Panel:
    """The last value, large; several series one beside the other, or, `in_lines`, one below the other."""
    options: Json = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value" if signal.levels or signal.mappings else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "horizontal" if in_lines else "auto",
        "textMode": "auto",
    }
    if in_lines:
        options["text"] = {"titleSize": 13, "valueSize": 18}  # else they shrink with the number of lines
    return Panel(
        type="stat", signal=signal, width=width, height=height, options=options, logs=logs, title=title, instant=True
    )


def words(signal: Signal, width: int = 4, height: int = 4, *, title: str | None = None) -> Panel:
    """The name of the series, large: for `_info` metrics."""
    panel = stat(signal, width, height, title=title)
    return replace(panel, options={**panel.options, "textMode": "name", "colorMode": "none"})


def graph(
    signal: Signal,
    width: int = 8,
    height: int = 7,
    *,
    stacked: bool = False,
    steps: bool = False,
    fill: int = 0,
    soft_max: float | None = None,
    logs: Lines = None,
    title: str | None = None,
) -> Panel:
    """Lines over time. `steps` for values that hold until the next one, such as heights.

    `soft_max` is where the axis ends unless a value is higher; without it, an axis of zeros alone goes to 100.
    """
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if steps else "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else fill,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        **({} if soft_max is None else {"axisSoftMax": soft_max}),
    }
    return Panel(
        type="timeseries",
        signal=signal,
        width=width,
        height=height,
        options=_with_legend("multi", "desc"),
        custom=custom,
        logs=logs,
        title=title,
    )


def bars(signal: Signal, width: int = 8, height: int = 7, *, logs: Lines = None, title: str | None = None) -> Panel:
    """Stacked bars over time, for what happens now and then: counts within an interval."""
    custom = {
        "drawStyle": "bars",
        "lineWidth": 0,
        "fillOpacity": 70,
        "showPoints": "never",
        "stacking": {"mode": "normal", "group": "A"},
        "axisSoftMax": 1,  # else an axis of zeros alone goes to 100
    }
    return Panel(
        type="timeseries",
        signal=signal,
        width=width,
        height=height,
        options=_with_legend("multi", "desc"),
        custom=custom,
        points=100,  # bars of a pixel's width cannot be seen
        logs=logs,
        title=title,
    )


def _with_legend(tooltip: str, sort: str) -> Json:
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": tooltip, "sort": sort},
    }


def timeline(
    signal: Signal, width: int = 12, height: int = 6, *, logs: Lines = None, title: str | None = None
) -> Panel:
    """States over time, one bar for each series; the signal's mappings name and colour them."""
    options = {
        "mergeValues": True,
        "showValue": "never",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"lineWidth": 0, "fillOpacity": 80}
    return Panel(
        type="state-timeline",
        signal=signal,
        width=width,
        height=height,
        options=options,
        custom=custom,
        logs=logs,
        title=title,
    )


def heatmap(signal: Signal, width: int = 12, height: int = 8, *, logs: Lines = None, title: str | None = None) -> Panel:
    """A histogram's buckets over time; the query is `sum by (le) (increase(..._bucket[$__rate_interval]))`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": str(signal.unit)},
    }
    return Panel(
        type="heatmap",
        signal=signal,
        width=width,
        height=height,
        options=options,
        as_heatmap=True,
        logs=logs,
        title=title,
    )


def gauges(signal: Signal, width: int = 8, height: int = 7, *, title: str | None = None) -> Panel:
    """Horizontal bars, one for each series, of the last value."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "valueMode": "color",
    }
    return Panel(type="bargauge", signal=signal, width=width, height=height, options=options, title=title, instant=True)


def log_lines(signal: Signal, width: int = 24, height: int = 14, *, title: str | None = None) -> Panel:
    """The lines themselves, newest first."""
    options = {
        "dedupStrategy": "none",
        "enableLogDetails": True,
        "prettifyLogMessage": False,
        "showCommonLabels": False,
        "showLabels": False,
        "showTime": True,
        "sortOrder": "Descending",
        "wrapLogMessage": True,
    }
    return Panel(type="logs", signal=signal, width=width, height=height, options=options, title=title)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the value of a query, or, without one, a label that the queries have.

    `link` is a data link; `${__data.fields.NAME}` in it is the row's value of the column with that title or label. A
    `hidden` column is there for links, or since a query that brings labels brings a value too.
    """

    title: str
    expr: str | None = None
    _: KW_ONLY
    label: str = ""
    unit: Unit = Unit.NUMBER
    levels: tuple[Level, ...] = ()
    mappings: Mappings | None = None
    width: int | None = None
    link: tuple[str, str] | None = None  # what it says, where it leads
    hidden: bool = False


# A page of 1280 pixels leaves 52 to each of the 24 columns of a board, less 26 to a panel for its frame: widths of a
# table's columns are to fit into that, with room for those that have none.
def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    width: int = 24,
    height: int = 8,
    *,
    sort: str | None = None,
    descending: bool = False,
    logs: Lines = None,
) -> Panel:
    """One row for each set of labels that the columns' queries share; `sort` is a column's title.

    Queries aggregate by the labels that are columns, so that their rows meet.
    """
    asked = [column for column in columns if column.expr is not None]
    fields = {_value_name(i, len(asked)): column for i, column in enumerate(asked)}
    fields.update({column.label: column for column in columns if column.expr is None})
    names = {column.title: name for name, column in fields.items()}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True},
            "indexByName": {names[column.title]: i for i, column in enumerate(columns)},
            "renameByName": {name: column.title for name, column in fields.items()},
        },
    }
    signal = Signal(
        title=title,
        description=description,
        unit=Unit.NUMBER,
        queries=tuple(Query(column.expr or "", "") for column in asked),
    )
    options: Json = {"cellHeight": "sm", "showHeader": True, "footer": {"show": False}}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": descending}]
    return Panel(
        type="table",
        signal=signal,
        width=width,
        height=height,
        options=options,
        custom={"align": "auto", "filterable": False, "minWidth": _COLUMN_MIN_WIDTH},
        overrides=tuple(_override(column) for column in columns),
        transformations=({"id": "merge", "options": {}}, organize),
        instant=True,
        as_table=True,
        logs=logs,
    )


def _value_name(index: int, count: int) -> str:
    """What Grafana calls the value of a table's query."""
    return f"Value #{ref_id(index)}" if count > 1 else "Value"


def ref_id(index: int) -> str:
    """Return A, B, ..., Z, AA, ... as Grafana numbers queries."""
    head, tail = divmod(index, 26)
    return (ref_id(head - 1) if head else "") + chr(ord("A") + tail)


def _override(column: Column) -> Json:
    """What differs for one column."""
    properties: list[Json] = [{"id": "unit", "value": str(column.unit if column.expr else Unit.TEXT)}]
    if column.width:
        properties.append({"id": "custom.width", "value": column.width})
        if column.width < _COLUMN_MIN_WIDTH:
            properties.append({"id": "custom.minWidth", "value": column.width})
    if column.mappings:
        properties.append({"id": "mappings", "value": mappings(column.mappings)})
        properties.append({"id": "custom.align", "value": "left"})  # words, not numbers
    if column.levels:
        properties.append({"id": "thresholds", "value": thresholds(column.levels)})
    if column.levels or column.mappings:
        properties.append({"id": "color", "value": {"mode": "thresholds"}})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if column.hidden:
        # Grafana knows the first of these words since 11, the second before.
        properties += [{"id": "custom.hideFrom.viz", "value": True}, {"id": "custom.hidden", "value": True}]
    if column.link:
        says, url = column.link
        properties.append({"id": "links", "value": [{"title": says, "url": url}]})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def mappings(given: Mappings) -> list[Json]:
    """Return Grafana's value mappings."""
    options = {}
    for index, (value, (text, color)) in enumerate(given.items()):
        options[f"{value:g}"] = {"text": text, "index": index, **({"color": color} if color else {})}
    return [{"type": "value", "options": options}] if options else []


def thresholds(levels: Sequence[Level]) -> Json:
    """Return Grafana's thresholds; none is one level without colour."""
    steps = [{"value": value, "color": color} for value, color in levels] or [{"value": None, "color": "text"}]
    return {"mode": "absolute", "steps": steps}
