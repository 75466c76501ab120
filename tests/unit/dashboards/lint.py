"""The rules that boards keep: each a function that yields what is wrong with a board, as (where, what).

These are those of grafana/dashboard-linter, under its names, and one more of their kind; our own are in house_rules.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser

from tests.unit.dashboards import logql
from tests.unit.dashboards.choices import free
from tests.unit.dashboards.labels import Reading
from tests.unit.dashboards.reading import (
    RANGE,
    RATE_INTERVAL,
    Board,
    Query,
    values_of,
    without_intervals,
)

Complaint = tuple[str, str]
Rule = Callable[[Board], Iterator[Complaint]]
RULES: dict[str, Rule] = {}

# Panels whose values have no unit: text, and tables, whose columns have units of their own.
WITHOUT_UNIT = {"logs", "text", "table"}
# How a panel says over what it counts, where that is no matter of the range that is looked at.
WINDOWS = {
    300: r"(5|five) minutes",
    600: r"(10|ten) minutes",
    900: r"((15|fifteen) minutes|a quarter of an hour)",
    1800: r"(30 minutes|half an hour)",
    3600: "(hour|1 h)",
    86400: "day",
}


def rule(check: Rule) -> Rule:
    """Register a rule under its name."""
    RULES[check.__name__.replace("_", "-")] = check
    return check


@rule
def template_datasource(board: Board) -> Iterator[Complaint]:
    """There is one data source for numbers, which the reader chooses."""
    found = [one for one in board.variables.values() if (one["type"], one.get("query")) == ("datasource", "prometheus")]
    if [(one["name"], one["label"]) for one in found] != [("datasource", "Data source")]:
        yield "variables", "needs one datasource of Prometheus, labelled 'Data source'"


def _choice(board: Board, name: str, everything: str | None = ".+") -> Iterator[Complaint]:
    """A choice of several values or all."""
    variable = board.variables.get(name)
    if variable is None:
        yield "variables", f"there is no {name}"
        return
    wanted = {"label": name, "multi": True, "includeAll": True, "allValue": everything}
    if wrong := {key: variable.get(key) for key, value in wanted.items() if variable.get(key) != value}:
        yield f"variable {name}", f"has {wrong}"
    if variable["datasource"]["uid"] not in ("${datasource}", "${loki_datasource}"):
        yield f"variable {name}", "is not asked of what was chosen"


@rule
def template_job(board: Board) -> Iterator[Complaint]:
    """The job can be chosen."""
    yield from _choice(board, "job")


@rule
def template_instance(board: Board) -> Iterator[Complaint]:
    """The instance can be chosen."""
    yield from _choice(board, "instance")


@rule
def template_chain(board: Board) -> Iterator[Complaint]:
    """The chain can be chosen; All are those of the board's family."""
    yield from _choice(
        board, "chain", ".+" if board.chosen["chain"]["datasource"]["uid"] == "${loki_datasource}" else None
    )


@rule
def template_label_promql(board: Board) -> Iterator[Complaint]:
    """Queries of variables parse, and give values of a label that the metric has."""
    for name, variable in board.chosen.items():
        expr, label = values_of(variable["definition"])
        if variable["datasource"]["type"] == "prometheus":
            reading = Reading(without_intervals(expr))
            for complaint in reading.complaints:
                yield f"variable {name}", complaint
            if label is not None and reading.labels is not None and label not in reading.labels:
                yield f"variable {name}", f"{expr} has no label {label}"


@rule
def template_on_time_change_reload(board: Board) -> Iterator[Complaint]:
    """Variables are asked for again when the time range changes."""
    for name, variable in board.chosen.items():
        if variable["refresh"] != 2:
            yield f"variable {name}", "is not refreshed on time range change"


@rule
def panel_datasource(board: Board) -> Iterator[Complaint]:
    """Panels ask the data source that was chosen."""
    for panel in board.panels:
        for one in (panel, *panel.get("targets", [])):
            if one["datasource"]["uid"] not in ("${datasource}", "${loki_datasource}"):
                yield panel["title"], f"asks {one['datasource']}"
            elif one["datasource"]["uid"][2:-1] not in board.variables:
                yield panel["title"], f"asks {one['datasource']['uid']}, which is no variable of the board"


@rule
def panel_title_description(board: Board) -> Iterator[Complaint]:
    """A panel explains itself, in sentences."""
    for panel in board.panels:
        if not panel["title"]:
            yield f"panel {panel['id']}", "has no title"
        if not re.search(r"[\w)][.?](\s|$)", panel.get("description", "")):
            yield panel["title"], "has no description of whole sentences"


@rule
def panel_units(board: Board) -> Iterator[Complaint]:
    """Numbers have a unit."""
    for panel in board.panels:
        if panel["type"] not in WITHOUT_UNIT and not panel["fieldConfig"]["defaults"].get("unit"):
            yield panel["title"], "has no unit"


@rule
def panel_no_targets(board: Board) -> Iterator[Complaint]:
    """Panels ask something."""
    for panel in board.panels:
        if panel["type"] != "text" and not panel.get("targets"):
            yield panel["title"], "asks nothing"


@rule
def target_promql(board: Board) -> Iterator[Complaint]:
    """PromQL parses."""
    for query in board.promql():
        try:
            promql_parser.parse(query.promql)
        except ValueError as error:
            yield query.where, f"{query.expr}: {error}"


@rule
def target_logql(board: Board) -> Iterator[Complaint]:
    """LogQL parses."""
    for query in board.queries():
        if query.loki:
            try:
                logql.check(without_intervals(query.expr))
            except ValueError as error:
                yield query.where, f"{query.expr}: {error}"


@rule
def target_logql_auto(board: Board) -> Iterator[Complaint]:
    """LogQL counts over what Grafana chooses, or over the whole range."""
    for query in board.logql():
        for window in re.findall(r"\[(\$?\w+)\]", query.expr):
            if window not in ("$__auto", "$__range"):
                yield query.where, f"has a window of {window}; $__auto fits every range"


@rule
def target_rate_interval(board: Board) -> Iterator[Complaint]:
    """Rates and increases are over $__rate_interval, the whole range, or a window that the panel names."""
    for query in board.promql():
        for call, window in _ranges(query):
            if call not in ("rate", "irate", "increase", "delta", "idelta", "deriv") or window == RATE_INTERVAL:
                continue
            if window == RANGE or query.kind == "annotation":  # a mark is where it is, however far one zooms out
                continue
            said = WINDOWS.get(int(window.total_seconds()))
            if said is None or not re.search(rf"\b{said}\b", query.about):
                yield query.where, f"{call}() needs [$__rate_interval], or the panel says over what: {said or window}"


def _ranges(query: Query) -> Iterator[tuple[str, Any]]:
    """Every function over a range, with the range."""
    for node in _nodes(promql_parser.parse(query.promql)):
        if isinstance(node, promql_parser.Call):
            for argument in node.args:
                if isinstance(argument, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
                    yield node.func.name, argument.range


def _nodes(node: Any) -> Iterator[Any]:
    """An expression and all its parts."""
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _children(node: Any) -> Iterator[Any]:
    for part in ("expr", "param", "lhs", "rhs", "vector_selector"):
        if (child := getattr(node, part, None)) is not None:
            yield child
    yield from getattr(node, "args", [])


def _chosen_by(board: Board, name: str) -> Iterator[Complaint]:
    """What a panel or a mark shows is of what was chosen."""
    for query in board.promql():
        if query.kind != "variable" and free(promql_parser.parse(query.promql), name):
            yield query.where, f'not all of it is selected by {name}=~"${name}": {query.expr}'


@rule
def target_job(board: Board) -> Iterator[Complaint]:
    """Selectors use the job that was chosen."""
    yield from _chosen_by(board, "job")


@rule
def target_instance(board: Board) -> Iterator[Complaint]:
    """Selectors use the instance that was chosen."""
    yield from _chosen_by(board, "instance")


@rule
def target_chain(board: Board) -> Iterator[Complaint]:
    """Selectors use the chain that was chosen."""
    yield from _chosen_by(board, "chain")


@rule
def target_counter_agg(board: Board) -> Iterator[Complaint]:
    """Counters are shown by what they gain, or by how many there are."""
    for query in board.promql():
        bare = {metric for metric in _bare(promql_parser.parse(query.promql)) if metric.endswith("_total")}
        if bare and query.kind != "variable":
            yield query.where, f"reads {', '.join(sorted(bare))} outside of rate, irate, increase: {query.expr}"


def _bare(node: Any) -> Iterator[str]:
    """Names of metrics whose own value is in the answer."""
    if isinstance(node, promql_parser.VectorSelector):
        yield str(node.name)
    if isinstance(node, promql_parser.AggregateExpr) and str(node.op) in ("count", "group"):
        return
    if isinstance(node, promql_parser.Call) and node.func.name in ("rate", "irate", "increase", "resets", "absent"):
        return
    for child in _children(node):
        yield from _bare(child)


@rule
def uneditable_dashboard(board: Board) -> Iterator[Complaint]:
    """What is edited in the browser is lost."""
    if board.json.get("editable") is not False:
        yield "board", "is editable"
