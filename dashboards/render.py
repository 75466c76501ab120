"""From a board to Grafana's classic dashboard JSON, which Grafana 10 to 13 read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from dashboards.model import MARK_STEP, Annotation, Board, Chosen, Json, Panel, Row, Source, Variable
from dashboards.panels import mappings, ref_id, thresholds

SCHEMA_VERSION = 39  # Grafana 10.4's; later ones migrate it when they load it
COLUMNS = 24
TAG = "chainwatch"  # what marks a board as ours
LOGS = "chainwatch-logs"

_SELECTOR = re.compile(r"\*(?=\})")
_ALERT_LINE = "alert"


def dashboard(board: Board) -> Json:
    """Return the JSON object of a board."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "id": None,
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "",
        "time": {"from": board.since, "to": "now"},
        "refresh": board.refresh,
        "timepicker": {},
        "links": [_links()],
        "annotations": {"list": [_annotation(each, board) for each in board.annotations]},
        "templating": {"list": list(_variables(board))},
        "panels": _panels(board),
    }


def select(expr: str, scope: Sequence[str]) -> str:
    """Put a board's selector in the place of `*`."""
    return _SELECTOR.sub(",".join(f'{name}=~"${name}"' for name in scope), expr)


def _links() -> Json:
    """All our boards, with the choices made here."""
    return {
        "type": "dashboards",
        "tags": [TAG],
        "title": "chainwatch",
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def _datasource(source: Source) -> Json:
    return {"type": "loki" if source is Source.LOKI else "prometheus", "uid": f"${{{source}}}"}


def _annotation(given: Annotation, board: Board) -> Json:
    return {
        "name": given.name,
        "enable": True,
        "hide": False,
        "iconColor": given.color,
        "datasource": _datasource(Source.PROMETHEUS),
        "expr": select(given.expr, board.scope),
        "titleFormat": given.title,
        "step": MARK_STEP,
        **({"useValueForTime": "on"} if given.at_value else {}),
    }


def _variables(board: Board) -> Iterator[Json]:
    sources = {panel.signal.source for row in board.rows for panel in row.panels} | {Source.PROMETHEUS}
    linked = any(panel.logs is not None for row in board.rows for panel in row.panels)
    yield _source_variable(Source.PROMETHEUS, "prometheus", "Data source")
    if Source.LOKI in sources or linked:
        yield _source_variable(Source.LOKI, "loki", "Logs")
    for variable in board.variables:
        yield _query_variable(variable, board) if variable.query else _text_variable(variable)


def _source_variable(source: Source, plugin: str, label: str) -> Json:
    return {
        "type": "datasource",
        "name": str(source),
        "label": label,
        "query": plugin,
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "current": {},
    }


def _query_variable(variable: Variable, board: Board) -> Json:
    before = [each.name for each in board.variables[: board.variables.index(variable)] if each.name in board.scope]
    query = select(variable.query or "", before)
    if variable.source is Source.LOKI:
        asked: Any = _loki_label(query)
    else:
        kind = 3 if variable.regex else 1  # in Grafana's editor: query_result, label_values
        asked = {"qryType": kind, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    chosen = {"text": ["All"], "value": ["$__all"]} if variable.multi else {"text": "All", "value": "$__all"}
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.label or variable.name,
        "datasource": _datasource(variable.source),
        "definition": query,
        "query": asked,
        "regex": variable.regex,
        "refresh": 2,  # when the time range changes
        "sort": 0 if variable.regex else 1,
        "hide": 2 if variable.hidden else 0,
        "multi": variable.multi,
        "includeAll": variable.everything,
        "allValue": _everything(variable, board),
        "options": [],
        "current": {"selected": True, **chosen} if variable.everything else {},
    }


def _everything(variable: Variable, board: Board) -> str | None:
    """Return what All stands for; None for a list of all values."""
    if variable.all_value is not None:
        return variable.all_value or None
    return ".+" if variable.everything and variable.name in board.scope else None


def _loki_label(query: str) -> Json:
    """Return a query for values of a label as Grafana's Loki editor stores it."""
    found = re.fullmatch(r"label_values\((?:(?P<stream>\{.*\}), *)?(?P<label>\w+)\)", query)
    if found is None:
        raise ValueError(f"{query}: expected label_values({{...}}, LABEL)")
    stored = {"label": found["label"], "stream": found["stream"] or "", "type": 1}
    return {**stored, "refId": "LokiVariableQueryEditor-VariableQuery"}


def _text_variable(variable: Variable) -> Json:
    return {
        "type": "textbox",
        "name": variable.name,
        "label": variable.label or variable.name,
        "query": "",
        "hide": 0,
        "options": [{"selected": True, "text": "", "value": ""}],
        "current": {"selected": True, "text": "", "value": ""},
    }


def _panels(board: Board) -> list[Json]:
    """Lay the rows out: from left to right, a new line where the next panel does not fit."""
    placed: list[Json] = []
    top, number = 0, 1
    for row in board.rows:
        inside = [_panel(panel, board, number + 1 + index) for index, panel in enumerate(row.panels)]
        height = _lay_out(row, inside, top + 1)
        head = {
            "type": "row",
            "id": number,
            "title": row.title,
            "collapsed": row.folded,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": inside if row.folded else [],
        }
        placed += [head] if row.folded else [head, *inside]
        top += 1 + height
        number += 1 + len(inside)
    return placed


def _lay_out(row: Row, panels: Sequence[Json], top: int) -> int:
    """Give each panel its place; return the height of them all."""
    x = y = tallest = 0
    for panel, json in zip(row.panels, panels, strict=True):
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        json["gridPos"] = {"x": x, "y": top + y, "w": panel.width, "h": panel.height}
        x, tallest = x + panel.width, max(tallest, panel.height)
    return y + tallest


def _panel(panel: Panel, board: Board, number: int) -> Json:
    signal = panel.signal
    overrides = list(panel.overrides)
    if _draws_threshold(panel):
        overrides.append(_ALERT_STYLE)
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title or signal.title,
        "description": signal.description,
        "datasource": _datasource(signal.source),
        "targets": _targets(panel, board),
        "fieldConfig": {"defaults": _defaults(panel), "overrides": overrides},
        "options": panel.options,
        **({} if panel.points is None else {"maxDataPoints": panel.points}),
        "transformations": list(panel.transformations),
        "links": [_to_logs(panel.logs, board)] if panel.logs is not None else [],
    }


def _defaults(panel: Panel) -> Json:
    signal = panel.signal
    limits = {"decimals": signal.decimals, "min": signal.minimum, "max": signal.maximum}
    return {
        "unit": str(signal.unit),
        "color": {"mode": "thresholds" if signal.levels and panel.type in ("stat", "bargauge") else "palette-classic"},
        "mappings": mappings(signal.mappings),
        "thresholds": thresholds(signal.levels),
        **{name: value for name, value in limits.items() if value is not None},
        **({"custom": panel.custom} if panel.custom else {}),
        **panel.defaults,
    }


def _targets(panel: Panel, board: Board) -> list[Json]:
    signal = panel.signal
    asked = [(query.expr, query.legend) for query in signal.queries]
    if _draws_threshold(panel):
        alert_at = f'max by (chain) (chainwatch:threshold{{name="{signal.threshold}",chain=~"$chain"}})'
        asked.append((alert_at, f"{_ALERT_LINE}, {{{{chain}}}}"))
    targets = []
    for index, (expr, legend) in enumerate(asked):
        target: Json = {
            "refId": ref_id(index),
            "datasource": _datasource(signal.source),
            "editorMode": "code",
            "expr": select(expr, board.scope),
            "legendFormat": legend,
        }
        if signal.source is Source.LOKI:
            target["queryType"] = "instant" if panel.instant else "range"
        else:
            target |= {"instant": panel.instant, "range": not panel.instant}
            target["format"] = "table" if panel.as_table else "heatmap" if panel.as_heatmap else "time_series"
        targets.append(target)
    return targets


def _draws_threshold(panel: Panel) -> bool:
    return panel.type == "timeseries" and panel.signal.threshold is not None


# The line at which an alert begins: dashed, red, out of the way of the data.
_ALERT_STYLE: Json = {
    "matcher": {"id": "byRegexp", "options": f"/^{_ALERT_LINE}, /"},
    "properties": [
        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.showPoints", "value": "never"},
        {"id": "custom.stacking", "value": {"mode": "none", "group": "alert"}},
        {"id": "custom.drawStyle", "value": "line"},
        {"id": "custom.lineWidth", "value": 1},
        {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
    ],
}


def _to_logs(chosen_there: Chosen, board: Board) -> Json:
    """A link to the lines of the log that belong to a panel, of what is chosen on the board, in its time range."""
    # All chains and jobs there are those of every family: the board's own is named.
    scope = [name for name in board.scope if not (board.family and name == "job")]
    chosen = [f"${{{name}:queryparam}}" for name in ("loki_datasource", *scope)]
    if board.family:
        chosen.append(f"var-job={board.family}")
    several = {name: (given,) if isinstance(given, str) else given for name, given in chosen_there.items()}
    wanted = [f"var-{name}={quote(value)}" for name, values in several.items() for value in values]
    url = f"/d/{LOGS}/logs?" + "&".join([*chosen, *wanted, "${__url_time_range}"])
    return {"title": "Lines of the log", "url": url, "targetBlank": False}
